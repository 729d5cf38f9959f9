"""The owner of the embedded PostgreSQL: the process that starts, restarts and stops it."""

import atexit
import fcntl
import os
import time
from functools import cache
from pathlib import Path
from typing import IO

from app.database.embedded.address import url_of
from app.database.embedded.data import prepare
from app.database.embedded.errors import DataFolderInUse
from app.database.embedded.postmaster import Postmaster
from app.database.embedded.programs import wanted_version
from app.database.embedded.supervisor import Supervisor

COMMAND_SECONDS = 30.0
"""How long a command waits for the server of a service that is starting."""


class EmbeddedPostgres:
    """The server on the data in `data_dir`/postgres.

    The process that holds the lock of the folder owns the server. If an owner is killed, the next
    one takes over the server that still runs.
    """

    def __init__(self, data_dir: str) -> None:
        self._folder = Path(data_dir).resolve() / "postgres"
        self._postmaster = Postmaster(self._folder)
        self._lock: IO[str] | None = None
        self._supervisor: Supervisor | None = None
        os.register_at_fork(after_in_child=self.disown)

    def start(self) -> str:
        """Start the server, wait until it is ready, and return its URL.

        The server is stopped if the start is interrupted, and if the process ends without stop().

        Raises:
            DataFolderInUse: if another process owns the server.
            CannotStart: if this release cannot use the data, or PostgreSQL does not start.
        """
        self._take_lock()
        atexit.register(self.stop)
        try:
            programs = prepare(self._folder, wanted_version())
            self._postmaster.start(programs)
            self._supervisor = Supervisor(self._postmaster, programs)
            return url_of(self._folder)
        except BaseException:
            self.stop()
            raise

    def _take_lock(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (self._folder.parent / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            if not isinstance(error, BlockingIOError):
                raise
            raise DataFolderInUse(
                f"another service runs on the data in {self._folder.parent};"
                " stop it, or choose another folder"
            ) from None
        self._lock = lock

    def supervise(self) -> None:
        """Restart the server if it has died. Never blocks; the owner calls it every second."""
        if self._supervisor is not None:
            self._supervisor.check()

    def stop(self) -> None:
        """Stop the server if this process owns it, and unlock the folder."""
        if self._lock is None:
            return
        self._supervisor = None
        self._postmaster.stop()
        self._lock.close()
        self._lock = None
        atexit.unregister(self.stop)

    def disown(self) -> None:
        """Give up the server in a forked child; the parent process owns it.

        The child closes its copy of the lock, which does not unlock the folder. With an open copy,
        a child that outlives its parent would keep the folder locked.
        """
        if self._lock is not None:
            self._lock.close()
        self._lock = None
        self._supervisor = None


@cache
def embedded_postgres(data_dir: str) -> EmbeddedPostgres:
    """Return the object of this process for `data_dir`.

    There is only one, although gunicorn reads its configuration again at SIGHUP.
    """
    return EmbeddedPostgres(data_dir)


def url_for_command(data_dir: str) -> str:
    """Return the URL of a server on `data_dir`, for a command.

    It is the server of the running service, or a server that runs until the command ends.

    Raises:
        CannotStart: if the server does not start, or that of the service is not ready in time.
    """
    server = EmbeddedPostgres(data_dir)
    try:
        return server.start()
    except DataFolderInUse:
        return _url_of_running(Path(data_dir).resolve() / "postgres")


def _url_of_running(folder: Path) -> str:
    """Return the URL of the server of another process, which may still be starting."""
    postmaster = Postmaster(folder)
    deadline = time.monotonic() + COMMAND_SECONDS
    while not postmaster.is_ready():
        if time.monotonic() > deadline:
            raise DataFolderInUse(
                f"another service holds {folder.parent}, but its PostgreSQL is not ready"
            )
        time.sleep(0.1)
    return url_of(folder)
