"""Commands that follow jobs until they are over: `watch` with a progress bar, and `wait`."""

import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scrape_jobs.cli import exit_codes
from scrape_jobs.cli.context import (
    CommandContext,
    JSONCommand,
    exit_with,
    pass_context,
    reported_failures,
)
from scrape_jobs.client import ScrapeJobs
from scrape_jobs.errors import DeadlineExceeded, NotFound, ScrapeJobsError
from scrape_jobs.jobs import Job


@click.command(cls=JSONCommand)
@click.argument("job_id")
@click.option("--timeout", type=click.FloatRange(0), help="Maximum number of seconds to wait.")
@pass_context
def wait(context: CommandContext, /, job_id: str, timeout: float | None) -> None:
    """Wait until a job is over.

    Exit codes: 0 completed, 1 failed, 3 cancelled, 4 not found, 6 timed out.
    """
    with reported_failures():
        try:
            job = context.client().wait(job_id, deadline=timeout)
        except DeadlineExceeded as failure:
            exit_with(str(failure), exit_codes.TIMED_OUT)
            return
        context.show(
            job.document, job.status + (f": {job.error_message}" if job.error_message else "")
        )
    sys.exit(exit_codes.OF_STATUS[job.status])


@click.command(cls=JSONCommand)
@click.argument("job_ids", nargs=-1, required=True)
@pass_context
def watch(context: CommandContext, /, job_ids: Sequence[str]) -> None:
    """Follow jobs until all are over, with a progress bar for each on a terminal.

    The exit code is that of the first job that is not completed, as for `wait`.
    """
    with reported_failures():
        api = context.client()
    bars = _Bars() if sys.stderr.isatty() and not context.as_json else None
    codes = [exit_codes.COMPLETED] * len(job_ids)
    stop = threading.Event()

    def follow(index: int) -> None:
        codes[index] = _follow(context, api, job_ids[index], bars, stop)

    pool = ThreadPoolExecutor(len(job_ids))
    try:
        with bars or _NoBars():
            list(pool.map(follow, range(len(job_ids))))
    except KeyboardInterrupt:
        stop.set()
        click.echo("Stopped watching; the jobs go on.", err=True)
        sys.stdout.flush()
        sys.stderr.flush()
        # The other threads wait for the service; they must not delay the end.
        os._exit(exit_codes.INTERRUPTED)
    sys.exit(next((code for code in codes if code), exit_codes.COMPLETED))


def _follow(
    context: CommandContext,
    api: ScrapeJobs,
    job_id: str,
    bars: "_Bars | None",
    stop: threading.Event,
) -> int:
    """Show one job until it is over; return its exit code."""
    last: Job | None = None
    try:
        for job in api.watch(job_id):
            if stop.is_set():
                return exit_codes.INTERRUPTED
            last = job
            if bars is not None:
                bars.show(job)
            else:
                context.show(job.document, _line(job))
    except NotFound:
        click.echo(f"Error: {job_id}: Job not found", err=True)
        return exit_codes.NOT_FOUND
    except ScrapeJobsError as failure:
        click.echo(f"Error: {job_id}: {failure}", err=True)
        return exit_codes.SERVICE
    assert last is not None
    if bars is not None:
        context.show(last.document, _line(last))
    return exit_codes.OF_STATUS[last.status]


def _line(job: Job) -> str:
    done, total = job.stats.get("pagesProcessed"), job.stats.get("totalPages")
    pages = "" if done is None else f"  {done}/{total} pages" if total else f"  {done} pages"
    error = f"  {job.error_message}" if job.error_message else ""
    return f"{job.id}  {job.domain}  {job.status}{pages}{error}"


class _RateColumn(ProgressColumn):
    """The pages per minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed * 60:.0f}/min" if speed else "")


class _Bars:
    """A progress bar on standard error for each job; a context manager."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[domain]}", markup=False),
            TextColumn("{task.fields[status]}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[pages]}", markup=False),
            _RateColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()  # shows the cursor again

    def show(self, job: Job) -> None:
        """Show the progress of a job; more pages than the total count as all of them."""
        done, total = _number(job, "pagesProcessed"), _number(job, "totalPages")
        fields: dict[str, Any] = {
            "domain": job.domain,
            "status": job.status,
            "pages": "" if done is None else f"{done:g}/{total:g}" if total else f"{done:g} pages",
        }
        if job.id not in self._tasks:
            self._tasks[job.id] = self._progress.add_task("", total=None, **fields)
        completed = min(done or 0, total) if total else done or 0
        self._progress.update(self._tasks[job.id], total=total, completed=completed, **fields)


class _NoBars:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _number(job: Job, name: str) -> float | None:
    value = job.stats.get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
