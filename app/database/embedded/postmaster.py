"""The server process of a data folder: how it is found, started, watched and stopped."""

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

STOP_SIGNALS = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 10.0))
"""The signals for a fast and an immediate shutdown, with the seconds to wait after each."""

LEFTOVER_SECONDS = 5.0
"""After this time the processes of a dead server get SIGKILL instead of SIGQUIT.

PostgreSQL itself waits as long.
"""

FIRST_RECOVERY_LOG_SECONDS = 3.0
"""When a recovery is logged for the first time."""

RECOVERY_LOG_SECONDS = 30.0
"""How often a recovery is logged after the first time."""


class Postmaster:
    """The server on the data in `folder`, whichever process started it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: subprocess.Popen[Any] | None = None
        self._log_start = 0
        self._leftovers_since: float | None = None
        self._recovery_logged_at = time.monotonic()

    def is_alive(self) -> bool:
        """Return whether the server runs."""
        return self._process() is not None

    def is_ready(self) -> bool:
        """Return whether the server accepts connections on its socket in the data folder."""
        return self.status() == "ready" and self.is_alive() and (self._folder / SOCKET).exists()

    def status(self) -> str:
        """Return the status in the pid file: starting, ready, stopping, or an empty text."""
        return self._pid_file().get(7, "").strip()

    def start(self, programs: Programs) -> None:
        """Start the server unless it runs, and wait until it is ready, even for a long recovery.

        Raises:
            CannotStart: if it ends instead.
        """
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
            self.log_recovery()
            time.sleep(0.02)

    def launch(self, programs: Programs) -> None:
        """Start the server without waiting until it is ready.

        The processes of its predecessor must have ended.
        """
        # The process id in old files may belong to another program by now.
        for name in ("postmaster.pid", SOCKET, f"{SOCKET}.lock"):
            (self._folder / name).unlink(missing_ok=True)
        options = {
            "listen_addresses": "",
            "port": PORT,
            # The data folder, as a relative path: the path of a socket has a maximum length.
            "unix_socket_directories": ".",
            "cluster_name": cluster_name(self._folder),
        }
        command = [str(programs.folder / "postgres"), "-D", str(self._folder)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._recovery_logged_at = (
            time.monotonic() - RECOVERY_LOG_SECONDS + FIRST_RECOVERY_LOG_SECONDS
        )
        with self.log_file().open("ab") as output, _stop_signals_blocked():
            self._log_start = output.tell()
            self._child = subprocess.Popen(  # noqa: S603 - words of this module
                command,
                cwd=self._folder,
                env=environment(),
                **account(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the service, which then stops the server
            )

    def log_recovery(self) -> None:
        """Log from time to time that the server is still starting."""
        now = time.monotonic()
        if now - self._recovery_logged_at >= RECOVERY_LOG_SECONDS:
            self._recovery_logged_at = now
            log.warning(
                "PostgreSQL is recovering, or slow to start; the service waits until it is ready"
            )

    def log_file(self) -> Path:
        """Return the file that the server logs to."""
        return self._folder / "log"

    def failure(self) -> str:
        """Return the reason from its log why the last server that was launched has ended."""
        with suppress(OSError), self.log_file().open("rb") as output:
            output.seek(self._log_start)
            return reason_in(output.read().decode(errors="replace"))
        return str(self.log_file())

    def stop(self) -> None:
        """Stop the server, and the processes that a dead server left behind."""
        for number, seconds in STOP_SIGNALS:
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
        """Send the processes of a dead server a signal to end, and return whether all have ended.

        A new server cannot start while one of them uses the shared memory of the old one.
        """
        leftovers = processes_in(self._folder)
        if not leftovers:
            self._leftovers_since = None
            return True
        now = time.monotonic()
        if self._leftovers_since is None:
            self._leftovers_since = now
            log.warning(
                "%d processes of a dead PostgreSQL still run; ending them first", len(leftovers)
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
def _stop_signals_blocked() -> Iterator[None]:
    """Block the signals that stop the service.

    A signal while a process starts would interrupt this one before it knows the process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
