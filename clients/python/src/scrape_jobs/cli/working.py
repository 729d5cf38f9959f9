"""The command `work`: runs any program for each claimed job."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from scrape_jobs.cli.context import CommandContext, pass_context, reported_failures
from scrape_jobs.handling import LeasedJob
from scrape_jobs.outcomes import Failed, Retry

CHECK_SECONDS = 0.2
"""How often a running program is checked for a cancel."""

KILL_SECONDS = 5.0
"""Time that a program has to end after SIGTERM; then it gets SIGKILL."""

RETRY_CODE = 75
"""Exit code of a program that asks for a retry (EX_TEMPFAIL of sysexits.h)."""

MAX_ERROR_LINE = 2000


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--type", "job_types", multiple=True, help="Type of the jobs to claim; repeatable.")
@click.option("--domain", "domains", multiple=True, help="Domain of the jobs; repeatable.")
@click.option(
    "--concurrency",
    "-c",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Maximum number of jobs at the same time.",
)
@click.option(
    "--lease",
    type=click.IntRange(5, 3600),
    default=60,
    show_default=True,
    help="Seconds without a heartbeat after which another worker gets the job.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=25,
    show_default=True,
    help="Seconds that running programs have to end after SIGTERM.",
)
@click.option("--name", "worker_id", help="Name of the worker, which the jobs show.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_context
def work(
    context: CommandContext,
    /,
    command: Sequence[str],
    job_types: Sequence[str],
    domains: Sequence[str],
    **options: Any,
) -> None:
    """Claim jobs and run COMMAND for each of them.

    COMMAND gets the job as JSON on standard input, and as SCRAPE_JOB_ID, SCRAPE_JOB_DOMAIN,
    SCRAPE_JOB_TYPE and SCRAPE_JOB_ATTEMPT in its environment. Each line of JSON that it prints is
    reported as progress: {"pagesProcessed": 5, "totalPages": 20}. Other lines are printed.
    Exit code 0 completes the job, 75 asks for a retry, any other one fails it with the last line of
    standard error. After a cancel it gets SIGTERM, then SIGKILL.

    Example: scrape-jobs work --type crawl -- python crawl.py
    """
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", stream=sys.stderr)
    with reported_failures():
        worker = context.client().worker(
            job_types=job_types or None, domains=domains or None, **options
        )
        worker.handler(Program(command))
        worker.run()


class Program:
    """A handler that runs a program for each job."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    def __call__(self, job: LeasedJob) -> None:
        """Run the program for one job, until it ends or the job is cancelled."""
        process = subprocess.Popen(  # noqa: S603 - the user's own program
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **_environment(job)},
            start_new_session=True,  # Ctrl-C goes to the worker, which decides
        )
        errors = _LastLine()
        reports = _Reports(job)
        readers = [
            threading.Thread(target=_write_job, args=(process, job), daemon=True),
            threading.Thread(target=reports.read, args=(process.stdout,), daemon=True),
            threading.Thread(target=errors.read, args=(process.stderr,), daemon=True),
        ]
        for reader in readers:
            reader.start()
        try:
            while _is_running(process):
                job.check()
        except BaseException:
            _end(process)
            raise
        for reader in readers:
            reader.join(KILL_SECONDS)
        if process.returncode == RETRY_CODE:
            raise Retry(errors.text or "The program asked for a retry")
        if process.returncode:
            raise Failed(errors.text or f"exit code {process.returncode}")


class _Reports:
    """Reports each line of JSON that a program prints."""

    def __init__(self, job: LeasedJob) -> None:
        self._job = job

    def read(self, lines: Any) -> None:
        """Report each JSON object, and print each other line, until the end."""
        for line in lines:
            stats = _json_object(line)
            if stats is None:
                click.echo(line, nl=False)
            else:
                with suppress(Exception):  # the main thread checks for a cancel
                    self._job.progress(**stats)


class _LastLine:
    """Prints what a program writes to standard error, and keeps the last line."""

    text = ""

    def read(self, lines: Any) -> None:
        """Read until the end."""
        for line in lines:
            click.echo(line, nl=False, err=True)
            self.text = line.strip()[:MAX_ERROR_LINE] or self.text


def _json_object(line: str) -> Mapping[str, Any] | None:
    with suppress(ValueError):
        document = json.loads(line)
        if isinstance(document, dict):
            return document
    return None


def _environment(job: LeasedJob) -> dict[str, str]:
    return {
        "SCRAPE_JOB_ID": job.id,
        "SCRAPE_JOB_DOMAIN": job.domain,
        "SCRAPE_JOB_TYPE": job.job_type,
        "SCRAPE_JOB_ATTEMPT": str(job.attempt),
    }


def _write_job(process: "subprocess.Popen[str]", job: LeasedJob) -> None:
    document = {name: value for name, value in job.job.document.items() if name != "lease_token"}
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(document, ensure_ascii=False) + "\n")


def _is_running(process: "subprocess.Popen[str]") -> bool:
    """Wait a moment; return whether the program still runs."""
    try:
        process.wait(CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: "subprocess.Popen[str]") -> None:
    """End the program and the processes that it has started."""
    for number, seconds in ((signal.SIGTERM, KILL_SECONDS), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
