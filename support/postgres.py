"""A PostgreSQL of the tests' own, from the wheel."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil

from app.database.embedded.address import url_of
from app.database.embedded.data import prepare
from app.database.embedded.postmaster import Postmaster
from app.database.embedded.programs import wanted_version

CONFIGURATION = """
max_connections = 300
fsync = off
synchronous_commit = off
full_page_writes = off
"""


@contextmanager
def frozen(data: Path) -> Iterator[None]:
    """Make the server on `data` stand still inside: the system accepts connections for it, but it
    answers nothing."""
    postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


class Postgres:
    """An embedded server that is quick to make and forgets what it was told when the machine loses
    power."""

    def __init__(self, folder: Path, version: int | None = None) -> None:
        folder.chmod(0o755)  # as root, it runs as a user of its own
        self.folder = folder
        self._data = folder / "data"
        self._version = version or wanted_version()
        self._postmaster = Postmaster(self._data)

    def start(self) -> str:
        """Start it, with data that was there before or new, and return its URL."""
        programs = prepare(self._data, self._version)
        settings = self._data / "postgresql.conf"
        if CONFIGURATION not in settings.read_text():
            settings.write_text(settings.read_text() + CONFIGURATION)
        self._postmaster.start(programs)
        return url_of(self._data)

    def stop(self) -> None:
        """Stop it and keep its data."""
        self._postmaster.stop()

    def frozen(self) -> AbstractContextManager[None]:
        """Make it stand still inside: it lives and keeps its connections, but answers nothing."""
        return frozen(self._data)

    def delete(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
