"""The URL at which this process, and those forked from it, reach the server of a data folder."""

import os
import sys
from pathlib import Path
from urllib.parse import quote

from app.database.embedded.errors import CannotStart
from app.database.embedded.programs import SUPERUSER

DATABASE = "postgres"
PORT = "5432"
SOCKET = f".s.PGSQL.{PORT}"
LONGEST = 107 if sys.platform == "linux" else 103
"""The bytes that fit into the address of a Unix socket."""


def url_of(folder: Path) -> str:
    """Return the URL of the server on `folder`, where its socket lies. Raises CannotStart where no
    URL can name it."""
    host = str(folder) if _fits(folder) else _short_path(folder)
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(host, safe='/')}&port={PORT}"


def _fits(folder: Path) -> bool:
    """Tell whether libpq takes the path as it is: it must be short, and commas part hosts."""
    path = os.fsencode(folder / SOCKET)
    return len(path) <= LONGEST and str(folder).isprintable() and not set(str(folder)) & {",", ":"}


def _short_path(folder: Path) -> str:
    """Return a short path of `folder`: that of a handle, which this process keeps open and its
    children inherit."""
    if sys.platform != "linux":
        raise CannotStart(
            f"the path of {folder} is too long for a socket, or has a character that no URL takes"
        )
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(handle, True)
    return f"/proc/self/fd/{handle}"
