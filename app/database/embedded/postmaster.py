"""The server process of a data folder: found there or started, watched, and stopped."""

import logging
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from app.database.embedded.account import account
from app.database.embedded.address import PORT, SOCKET
from app.database.embedded.errors import CannotStart
from app.database.embedded.processes import cluster_name, processes_in, works_in
from app.database.embedded.programs import Programs, environment, reason_in

log = logging.getLogger(__name__)

STOPS = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 10.0))
"""The signals that end the server, with the seconds that each gets: a fast shutdown, then an
immediate one."""

LEFTOVER_SECONDS = 5.0
"""How long the processes of a dead server get to end by SIGQUIT; PostgreSQL itself gives them as
long."""

RECOVERY_SECONDS = (3.0, 30.0)
"""When a recovery is logged for the first time, and how often then."""


class Postmaster:
    """The server on the data in `folder`, whichever process started it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: subprocess.Popen[Any] | None = None
        self._log_start = 0
        self._leftovers_since: float | None = None
        self._recovery_noted = time.monotonic()

    def is_alive(self) -> bool:
        """Tell whether the server runs."""
        return self._process() is not None

    def is_ready(self) -> bool:
        """Tell whether the server runs and accepts connections on its socket in the data folder."""
        return self.status() == "ready" and self.is_alive() and (self._folder / SOCKET).exists()

    def status(self) -> str:
        """Return what the pid file says: starting, ready, stopping, or nothing yet."""
        return self._pid_file().get(7, "").strip()

    def start(self, programs: Programs) -> None:
        """Make the server run and wait until it is ready, however long it recovers. Raises
        CannotStart."""
        if self.is_alive() and (
            self.status() == "stopping" or not (self._folder / SOCKET).exists()
        ):
            self.stop()
        if not self.is_alive():
            while not self.end_leftovers():
                time.sleep(0.05)
            self.launch(programs)
        while not self.is_ready():
            if not self.is_alive():
                raise CannotStart(f"PostgreSQL did not start: {self.failure()}")
            self.note_recovery()
            time.sleep(0.02)

    def launch(self, programs: Programs) -> None:
        """Start the server, without waiting until it is ready. Its predecessor's processes must
        have ended."""
        for name in (
            "postmaster.pid",
            SOCKET,
            f"{SOCKET}.lock",
        ):  # their process number may be another program's now
            (self._folder / name).unlink(missing_ok=True)
        options = {
            "listen_addresses": "",
            "port": PORT,
            "unix_socket_directories": ".",  # the data folder: a longer path may not fit into a socket's address
            "cluster_name": cluster_name(self._folder),
        }
        words = [str(programs.folder / "postgres"), "-D", str(self._folder)]
        words += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._recovery_noted = time.monotonic() - RECOVERY_SECONDS[1] + RECOVERY_SECONDS[0]
        with self.log_file().open("ab") as output, _signals_held():
            self._log_start = output.tell()
            self._child = subprocess.Popen(  # noqa: S603 - words of this module
                words, cwd=self._folder, env=environment(), **account(), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,  # Ctrl-C is for the service, which then stops it
            )  # fmt: skip

    def note_recovery(self) -> None:
        """Log now and then that the server is still starting."""
        now = time.monotonic()
        if now - self._recovery_noted >= RECOVERY_SECONDS[1]:
            self._recovery_noted = now
            log.warning(
                "PostgreSQL is recovering, or slow to start; the service waits until it is ready"
            )

    def log_file(self) -> Path:
        """Return the file that the server logs to."""
        return self._folder / "log"

    def failure(self) -> str:
        """Return why the server that was launched last has ended, in its own words."""
        with suppress(OSError), self.log_file().open("rb") as output:
            output.seek(self._log_start)
            return reason_in(output.read().decode(errors="replace"))
        return str(self.log_file())

    def stop(self) -> None:
        """Stop the server, and what a dead one left behind."""
        for number, seconds in STOPS:
            process = self._process()
            if process is None:
                break
            with suppress(psutil.Error):
                process.send_signal(number)
            deadline = time.monotonic() + seconds
            while self.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)
        if not self.is_alive():
            self.end_leftovers()

    def end_leftovers(self) -> bool:
        """Make the processes of a dead server end; return whether all have.

        A new server cannot start while one of them uses the old one's shared memory.
        """
        leftovers = processes_in(self._folder)
        if not leftovers:
            self._leftovers_since = None
            return True
        now = time.monotonic()
        if self._leftovers_since is None:
            self._leftovers_since = now
            log.warning(
                "%d processes of a dead PostgreSQL still run; they are ended first", len(leftovers)
            )
        is_late = now - self._leftovers_since > LEFTOVER_SECONDS
        for process in leftovers:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL if is_late else signal.SIGQUIT)
        return False

    def _process(self) -> psutil.Process | None:
        if self._child is not None and self._child.poll() is None:
            with suppress(psutil.Error):
                return psutil.Process(self._child.pid)
        with suppress(psutil.Error, ValueError):
            process = psutil.Process(int(self._pid_file().get(0, "")))
            return process if works_in(process, self._folder) else None
        return None

    def _pid_file(self) -> dict[int, str]:
        try:
            text = (self._folder / "postmaster.pid").read_text(errors="replace")
        except OSError:
            return {}
        return dict(enumerate(text.splitlines()))


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back the signals that stop the service: one amid a process's start would leave that
    process unknown."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
