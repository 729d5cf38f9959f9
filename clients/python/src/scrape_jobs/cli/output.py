"""Texts for reading: jobs, tables and errors."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import click

from scrape_jobs.jobs import Job


def print_error(text: str) -> None:
    """Print an error to standard error."""
    click.echo(f"Error: {printable(text)}", err=True)


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


def job_line(job: Job) -> str:
    """Return a job as one line, for a log of its changes."""
    parts = [job.id, job.domain, job.status, progress_text(job), job.error_message]
    return "  ".join(part for part in parts if part)


def progress_text(job: Job) -> str:
    """Return the pages of a job, such as `45/150 pages`."""
    done, total = number(job, "pagesProcessed"), number(job, "totalPages")
    if done is None:
        return ""
    return f"{done:.15g}/{total:.15g} pages" if total else f"{done:.15g} pages"


def number(job: Job, name: str) -> float | None:
    """Return a number of the job's statistics, or None if it is absent or something else."""
    value = job.stats.get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def time_text(at: datetime | None) -> str:
    """Return a time in the time zone of this machine."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as a table with a heading; all rows have the same names."""
    texts = [
        {name: "" if value is None else printable(str(value)) for name, value in row.items()}
        for row in rows
    ]
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
