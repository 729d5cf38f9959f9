"""An embedded PostgreSQL for tests and benchmarks."""

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
    """Freeze the server on `data` during the block.

    The system still accepts connections for it, but the server does not answer.
    """
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
    """An embedded server that starts quickly and is not safe against a power failure."""

    def __init__(self, folder: Path, version: int | None = None) -> None:
        folder.chmod(0o755)  # for root the server runs as another user
        self.folder = folder
        self._data = folder / "data"
        self._version = version or wanted_version()
        self._postmaster = Postmaster(self._data)

    def start(self) -> str:
        """Start the server, with its earlier data if there is any, and return its URL."""
        programs = prepare(self._data, self._version)
        settings = self._data / "postgresql.conf"
        if CONFIGURATION not in settings.read_text():
            settings.write_text(settings.read_text() + CONFIGURATION)
        self._postmaster.start(programs)
        return url_of(self._data)

    def stop(self) -> None:
        """Stop the server and keep its data."""
        self._postmaster.stop()

    def frozen(self) -> AbstractContextManager[None]:
        """Freeze the server during the block: it keeps its connections but does not answer."""
        return frozen(self._data)

    def delete(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
