"""The owner of the embedded PostgreSQL: the one process that starts it, restarts it and stops
it."""

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
"""How long a command waits for the server of a service that is just starting."""


class EmbeddedPostgres:
    """The server on the data in `data_dir`/postgres, and the right to start and stop it.

    The process that holds the folder's lock owns the server. It takes over what a killed owner left
    running.
    """

    def __init__(self, data_dir: str) -> None:
        self._folder = Path(data_dir).resolve() / "postgres"
        self._postmaster = Postmaster(self._folder)
        self._lock: IO[str] | None = None
        self._supervisor: Supervisor | None = None
        os.register_at_fork(after_in_child=self.disown)

    def start(self) -> str:
        """Make the server run, wait until it is ready, and return its URL.

        No server is left behind where the start is interrupted, or the process ends without stop().

        Raises:
            DataFolderInUse: where another process owns the server.
            CannotStart: where the data does not fit this release, or PostgreSQL does not start.
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
                f"another service runs on the data in {self._folder.parent}; stop it, or choose another folder"
            ) from None
        self._lock = lock

    def supervise(self) -> None:
        """Restart the server if it has died. The owner calls this at least every second; it waits
        for nothing."""
        if self._supervisor is not None:
            self._supervisor.check()

    def stop(self) -> None:
        """Stop the server, if this process owns it, and release the folder."""
        if self._lock is None:
            return
        self._supervisor = None
        self._postmaster.stop()
        self._lock.close()
        self._lock = None
        atexit.unregister(self.stop)

    def disown(self) -> None:
        """Leave the server to the parent process, in a forked child.

        The child's copy of the lock is closed, which does not unlock the folder. Otherwise a child
        that outlives its parent would keep the folder locked.
        """
        if self._lock is not None:
            self._lock.close()
        self._lock = None
        self._supervisor = None


@cache
def embedded_postgres(data_dir: str) -> EmbeddedPostgres:
    """Return this process's one object for `data_dir`: gunicorn reads its settings again at
    SIGHUP."""
    return EmbeddedPostgres(data_dir)


def url_for_command(data_dir: str) -> str:
    """Return the URL of the running service's server on `data_dir`, or of one that runs until the
    command ends."""
    server = EmbeddedPostgres(data_dir)
    try:
        return server.start()
    except DataFolderInUse:
        return _url_of_running(Path(data_dir).resolve() / "postgres")


def _url_of_running(folder: Path) -> str:
    """Return the URL of the server that another process has started, or is just starting, on
    `folder`."""
    postmaster = Postmaster(folder)
    deadline = time.monotonic() + COMMAND_SECONDS
    while not postmaster.is_ready():
        if time.monotonic() > deadline:
            raise DataFolderInUse(
                f"another service holds {folder.parent}, but its PostgreSQL is not ready"
            )
        time.sleep(0.1)
    return url_of(folder)
