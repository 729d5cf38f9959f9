"""Runs a program for each job: standard input and output, progress, and its end."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Self

import click

from scrape_jobs.errors import LeaseLost, ScrapeJobsError
from scrape_jobs.handling import LeasedJob
from scrape_jobs.outcomes import Cancelled, Failed, Released, Retry

CHECK_SECONDS = 0.2
"""How often a running program is checked for a cancel."""

KILL_SECONDS = 5.0
"""Time that a program has to end after SIGTERM; then it gets SIGKILL."""

READ_SECONDS = 5.0
"""Time to read the last lines after a program has ended."""

RETRY_CODE = 75
"""Exit code of a program that asks for a retry (EX_TEMPFAIL of sysexits.h)."""

MAX_ERROR_LINE = 2000


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """One run of the program.

    Attributes:
        outcome: completed, failed, retry, cancelled, released or lease_lost.
        exit_code: The exit code; minus the number of the signal that has ended the program.
    """

    job: LeasedJob
    outcome: str
    exit_code: int | None

    @property
    def document(self) -> dict[str, Any]:
        """The run as a JSON document."""
        return {
            "id": self.job.id,
            "domain": self.job.domain,
            "attempt": self.job.attempt,
            "outcome": self.outcome,
            "exit_code": self.exit_code,
        }


class Program:
    """A handler that runs a program for each job; a context manager, which ends all of them."""

    def __init__(
        self, command: Sequence[str], on_end: Callable[[ProgramRun], None], *, output_is_err: bool
    ) -> None:
        """Run `command`.

        Args:
            command: The program and its arguments.
            on_end: Is called after each run.
            output_is_err: Whether other lines than progress are printed to standard error.
        """
        self._command = command
        self._on_end = on_end
        self._output_is_err = output_is_err
        self._running: set[subprocess.Popen[str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the programs whose jobs were given back."""
        for process in list(self._running):
            _end(process)

    def __call__(self, job: LeasedJob) -> None:
        """Run the program for one job, until it ends or the job is cancelled."""
        process = subprocess.Popen(  # noqa: S603 - the user's own program
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **_environment(job)},
            start_new_session=True,  # Ctrl-C goes to the worker, which decides
        )
        self._running.add(process)
        try:
            error_line = self._run(process, job)
        except ScrapeJobsError as verdict:
            self._on_end(ProgramRun(job, _outcome(verdict), process.returncode))
            raise
        finally:
            self._running.discard(process)
        code = process.returncode
        outcome = {0: "completed", RETRY_CODE: "retry"}.get(code, "failed")
        self._on_end(ProgramRun(job, outcome, code))
        if outcome == "retry":
            raise Retry(error_line or "The program asked for a retry")
        if outcome == "failed":
            raise Failed(error_line or _end_text(code))

    def _run(self, process: "subprocess.Popen[str]", job: LeasedJob) -> str:
        """Wait for the end of the program; return the last line of its standard error."""
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        reports = _Reports(job, is_err=self._output_is_err)
        errors = _Errors()
        threads = [
            threading.Thread(target=_write_job, args=(process.stdin, job), daemon=True),
            threading.Thread(target=reports.read, args=(process.stdout,), daemon=True),
            threading.Thread(target=errors.read, args=(process.stderr,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            while _is_running(process):
                job.check()
        finally:
            _end(process)  # also the processes that the program leaves behind
        deadline = time.monotonic() + READ_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return errors.last_line


class _Reports:
    """Reports each JSON object that a program prints, and prints each other line."""

    def __init__(self, job: LeasedJob, *, is_err: bool) -> None:
        self._job = job
        self._is_err = is_err

    def read(self, lines: IO[str]) -> None:
        """Read until the end."""
        for line in lines:
            stats = _json_object(line)
            if stats is None:
                print_line(line, is_err=self._is_err)
                continue
            # The main thread checks for a cancel. A number such as NaN cannot be reported.
            with suppress(ScrapeJobsError, ValueError, TypeError):
                self._job.progress(**stats)


class _Errors:
    """Prints what a program writes to standard error, and keeps the last line."""

    last_line = ""

    def read(self, lines: IO[str]) -> None:
        """Read until the end."""
        for line in lines:
            print_line(line, is_err=True)
            self.last_line = line.strip()[:MAX_ERROR_LINE] or self.last_line


def print_line(line: str, *, is_err: bool) -> None:
    """Print a line; a job must not fail because the output has no reader."""
    with suppress(OSError):
        click.echo(line.rstrip("\n"), err=is_err)


def _json_object(line: str) -> Mapping[str, Any] | None:
    with suppress(ValueError, RecursionError):
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


def _write_job(pipe: IO[str], job: LeasedJob) -> None:
    document = {name: value for name, value in job.job.document.items() if name != "lease_token"}
    with suppress(OSError), pipe:  # the program need not read it
        pipe.write(json.dumps(document) + "\n")


def _is_running(process: "subprocess.Popen[str]") -> bool:
    """Wait a moment; return whether the program still runs."""
    try:
        process.wait(CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: "subprocess.Popen[str]") -> None:
    """End the program and all processes of its group: SIGTERM, then SIGKILL."""
    _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + KILL_SECONDS
    while _is_group_alive(process) and time.monotonic() < deadline:
        process.poll()
        time.sleep(CHECK_SECONDS / 4)
    _signal(process, signal.SIGKILL)
    process.wait()


def _is_group_alive(process: "subprocess.Popen[str]") -> bool:
    return _signal(process, 0)


def _signal(process: "subprocess.Popen[str]", number: int) -> bool:
    """Send a signal to the group of the program; return whether it has processes."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
        return True
    return False


def _outcome(verdict: ScrapeJobsError) -> str:
    names: Mapping[type[ScrapeJobsError], str] = {
        Cancelled: "cancelled",
        Released: "released",
        LeaseLost: "lease_lost",
    }
    return names.get(type(verdict), "failed")


def _end_text(exit_code: int) -> str:
    if exit_code < 0:
        return f"The program was ended by {signal.Signals(-exit_code).name}"
    return f"The program ended with exit code {exit_code}"
