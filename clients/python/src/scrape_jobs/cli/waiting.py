"""Commands that follow jobs until they are over: `watch` with a progress bar, and `wait`."""

import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from queue import SimpleQueue
from typing import NoReturn

import click

from scrape_jobs.cli import exit_codes
from scrape_jobs.cli.bars import JobBars
from scrape_jobs.cli.context import CommandContext, JSONCommand, pass_context
from scrape_jobs.cli.output import job_line, print_error, printable
from scrape_jobs.cli.parameters import JobId
from scrape_jobs.client import ScrapeJobs
from scrape_jobs.errors import DeadlineExceeded, NotFound, ScrapeJobsError
from scrape_jobs.jobs import Job


@click.command(cls=JSONCommand)
@click.argument("job_id", type=JobId())
@click.option(
    "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Maximum time to wait."
)
@pass_context
def wait(context: CommandContext, /, job_id: str, timeout: float | None) -> int:
    """Wait until a job is over, and print how it ended.

    An outage of the service does not end the wait, unless it lasts from the beginning.

    Exit codes: 0 completed, 1 failed, 3 cancelled, 4 not found, 6 not over in time.

    Example: scrape-jobs wait --timeout 3600 "$id" && ./import.sh
    """
    started = time.monotonic()
    api = context.client()
    job = api.get(job_id, required=True)  # a wrong address would be waited for without an end
    if not job.is_over:
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
        try:
            job = api.wait(job_id, deadline=left)
        except DeadlineExceeded:
            print_error(f"The job is not over after {timeout:g} s")
            return exit_codes.TIMED_OUT
    error = f": {job.error_message}" if job.error_message else ""
    context.show(job.document, f"{job.status}{error}")
    return exit_codes.OF_STATUS[job.status]


@click.command(cls=JSONCommand)
@click.argument("job_ids", nargs=-1, required=True, type=JobId())
@pass_context
def watch(context: CommandContext, /, job_ids: Sequence[str]) -> int:
    """Follow jobs until all are over.

    On a terminal each job has a progress bar with its rate and the time left. Elsewhere, and with
    --json, each change is a line.

    The exit code is that of the first of JOB_IDS that is not completed, as for `wait`.
    """
    signal.signal(signal.SIGTERM, _terminate)
    ids = list(dict.fromkeys(job_ids))
    codes = dict.fromkeys(ids, exit_codes.COMPLETED)
    last: dict[str, Job] = {}
    bars = JobBars(ids)
    has_bars = bars.can_be_shown and not context.as_json
    with bars if has_bars else nullcontext():
        for job_id, news in _followed(context.client(), ids):
            if isinstance(news, ScrapeJobsError):
                print_error(f"{job_id}: {_reason(news)}")
                codes[job_id] = _code(news)
                continue
            last[job_id] = news
            if has_bars:
                bars.show(news)
            else:
                context.show(news.document, job_line(news))
            if news.is_over:
                codes[job_id] = exit_codes.OF_STATUS[news.status]
    if has_bars:  # which have no space for the errors
        for job in last.values():
            if job.error_message:
                click.echo(printable(job_line(job)), err=True)
    return next((code for code in codes.values() if code), exit_codes.COMPLETED)


def _terminate(*_: object) -> NoReturn:
    sys.exit(exit_codes.TERMINATED)  # the bars show the cursor again


def _followed(
    api: ScrapeJobs, job_ids: Sequence[str]
) -> Iterator[tuple[str, Job | ScrapeJobsError]]:
    """Yield each change of each job, and the failures, until all jobs have one or are over.

    A thread follows each job. The threads must not delay the end of the program after Ctrl-C.
    """
    news: SimpleQueue[tuple[str, Job | ScrapeJobsError | None]] = SimpleQueue()

    def follow(job_id: str) -> None:
        try:
            for job in api.watch(job_id):
                news.put((job_id, job))
        except ScrapeJobsError as failure:
            news.put((job_id, failure))
        finally:
            news.put((job_id, None))

    for job_id in job_ids:
        threading.Thread(target=follow, args=(job_id,), daemon=True).start()
    running = len(job_ids)
    while running:
        job_id, item = news.get()
        if item is None:
            running -= 1
        else:
            yield job_id, item


def _reason(failure: ScrapeJobsError) -> str:
    return failure.error if isinstance(failure, NotFound) else str(failure)


def _code(failure: ScrapeJobsError) -> int:
    return exit_codes.NOT_FOUND if isinstance(failure, NotFound) else exit_codes.SERVICE
