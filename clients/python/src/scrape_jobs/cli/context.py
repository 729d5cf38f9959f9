"""The state of one call of the command line: the client, and the form of its output."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from scrape_jobs.cli import exit_codes
from scrape_jobs.client import ScrapeJobs
from scrape_jobs.errors import ConfigurationError, NotFound, ScrapeJobsError
from scrape_jobs.jobs import Job


@dataclass(slots=True)
class CommandContext:
    """The options that all commands share.

    Attributes:
        url: The address of the service; None takes SCRAPE_JOBS_URL.
        key: The API key; None takes SCRAPE_JOBS_KEY.
        as_json: Whether output is JSON, one document per line.
    """

    url: str | None
    key: str | None
    as_json: bool

    def client(self) -> ScrapeJobs:
        """Return a client of the service."""
        try:
            return ScrapeJobs(self.url, self.key)
        except ConfigurationError:
            raise click.UsageError(
                "Set --url or SCRAPE_JOBS_URL to the service's URL, such as http://localhost:3000"
            ) from None

    def show(self, document: Any, text: str) -> None:
        """Print a document as JSON, or `text` for reading."""
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            click.echo(printable(text))

    def show_job(self, job: Job) -> None:
        """Print a job."""
        self.show(job.document, job_text(job))


pass_context = click.make_pass_decorator(CommandContext)


class JSONCommand(click.Command):
    """A command that takes --json, as the whole program does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(
            click.Option(
                ["--json"],
                is_flag=True,
                expose_value=False,
                callback=_set_json,
                help="Print JSON, one document per line.",
            )
        )


def _set_json(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.find_object(CommandContext).as_json = True  # type: ignore[union-attr]


@contextmanager
def reported_failures() -> Iterator[None]:
    """Print a failure of the service as one line, and exit with its code."""
    try:
        yield
    except NotFound as failure:
        exit_with(failure.error, exit_codes.NOT_FOUND)
    except ScrapeJobsError as failure:
        exit_with(str(failure), exit_codes.SERVICE)


def exit_with(text: str, code: int) -> None:
    """Print an error and end the program."""
    click.echo(f"Error: {printable(text)}", err=True)
    sys.exit(code)


def job_text(job: Job) -> str:
    """Return a job as lines with a name and a value each."""
    rows: list[tuple[str, Any]] = [
        ("id", job.id),
        ("domain", job.domain),
        ("type", job.job_type),
        ("status", job.status),
        ("progress", progress_text(job)),
        ("priority", job.priority),
        ("retries", f"{job.retry_count} of {job.max_retries}"),
        ("created", time_text(job.created_at)),
        ("started", time_text(job.started_at)),
        ("completed", time_text(job.completed_at)),
        ("due", time_text(job.scheduled_for)),
        ("worker", job.worker_id),
        ("error", job.error_message),
    ]
    return "\n".join(f"{name:<10} {value}" for name, value in rows if value not in (None, ""))


def progress_text(job: Job) -> str:
    """Return the pages of a job, such as `45/150 pages`."""
    done, total = job.stats.get("pagesProcessed"), job.stats.get("totalPages")
    if done is None:
        return ""
    return f"{done}/{total} pages" if total else f"{done} pages"


def time_text(at: datetime | None) -> str:
    """Return a time in the time zone of this machine."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as a table with a heading; all rows have the same names."""
    texts = [{name: str(value or "") for name, value in row.items()} for row in rows]
    if not texts:
        return ""
    widths = {name: max(len(name), *(len(row[name]) for row in texts)) for name in texts[0]}
    heading = {name: name.upper() for name in widths}
    return "\n".join(
        "  ".join(row[name].ljust(width) for name, width in widths.items()).rstrip()
        for row in [heading, *texts]
    )


def printable(text: str) -> str:
    """Return the text without control characters, which could change the terminal."""
    return "".join(one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in text)
