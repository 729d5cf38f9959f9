"""The state of one call of the command line: the client, and the form of its output."""

import json
from dataclasses import dataclass
from typing import Any

import click

from scrape_jobs.cli.output import job_text, printable
from scrape_jobs.client import KEY_VARIABLE, ScrapeJobs
from scrape_jobs.errors import ConfigurationError
from scrape_jobs.jobs import Job


@dataclass(slots=True)
class CommandContext:
    """The options that all commands share.

    Attributes:
        url: The address of the service.
        key: The API key.
        as_json: Whether output is JSON, one document per line.
    """

    url: str | None
    key: str | None
    as_json: bool

    def client(self) -> ScrapeJobs:
        """Return a client of the service."""
        try:
            return ScrapeJobs(self.url, self.key)
        except ConfigurationError as fault:
            text = str(fault).replace("base_url or", "--url or")
            text = text.replace(f"{KEY_VARIABLE} or `key`", f"--key or {KEY_VARIABLE}")
            raise click.UsageError(text) from None

    def show(self, document: Any, text: str) -> None:
        """Print a document as JSON, or `text` for reading."""
        click.echo(json.dumps(document) if self.as_json else printable(text))

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
