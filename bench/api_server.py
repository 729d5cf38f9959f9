"""The service as a user starts it, with `make serve`, and the CPU time that it uses."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg2

from support.service import ROOT, environment, free_port

READY_SECONDS = 60
STOP_SECONDS = 30

BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'scrape-jobs'"""

CpuTimes = dict[int, float]
"""CPU seconds so far, by the id of the process."""


class ApiServer:
    """`make serve` on a database, without keys and rate limits; a context manager.

    Args:
        name: The server: gunicorn or granian.
        database_url: The URL of the database.
        settings: More settings of the service.
    """

    def __init__(self, name: str, database_url: str, **settings: str) -> None:
        self.port = free_port()
        self._database_url = database_url
        self._environment = {
            **environment(DATABASE_URL=database_url, PORT=str(self.port), SERVER=name, **settings),
            "PYTHON": sys.executable,
        }
        for name_of_make in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
            self._environment.pop(name_of_make, None)
        # Closed with the server.
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115
        self._make: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._make = subprocess.Popen(
            ["make", "--silent", "serve"],  # noqa: S607 - the user's make
            cwd=ROOT,
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def server_cpu(self) -> CpuTimes:
        """Return the CPU times of the server's processes."""
        assert self._make is not None
        make = psutil.Process(self._make.pid)
        return _cpu_times([process.pid for process in (make, *make.children(recursive=True))])

    def postgres_cpu(self) -> CpuTimes:
        """Return the CPU times of the PostgreSQL backends that serve this database's service."""
        with psycopg2.connect(self._database_url) as connection, connection.cursor() as cursor:
            cursor.execute(BACKENDS)
            backends = [pid for (pid,) in cursor.fetchall()]
        connection.close()
        return _cpu_times(backends)

    def _wait_until_ready(self) -> None:
        assert self._make is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._make.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
            else:
                return
        raise SystemExit(f"the server did not start:\n{Path(self._log.name).read_text()}")

    def _stop(self) -> None:
        assert self._make is not None
        processes: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it may have failed to start
            processes = psutil.Process(self._make.pid).children(recursive=True)
            os.killpg(self._make.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs(processes, STOP_SECONDS)
        for process in alive:
            process.kill()
        self._make.wait()
        self._log.close()


def _cpu_times(pids: list[int]) -> CpuTimes:
    times = {}
    for pid in pids:
        try:
            used = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        times[pid] = used.user + used.system
    return times


def seconds_used(before: CpuTimes, after: CpuTimes) -> float:
    """Return the CPU seconds between two moments; a new process counts from its start."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
