"""The URL of the server of a data folder, for this process and its children."""

import os
import sys
from pathlib import Path
from urllib.parse import quote

from app.database.embedded.errors import CannotStart
from app.database.embedded.programs import SUPERUSER

DATABASE = "postgres"
PORT = "5432"
SOCKET = f".s.PGSQL.{PORT}"
MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103
"""The maximum length of the path of a Unix socket, in bytes."""


def url_of(folder: Path) -> str:
    """Return the URL of the server on `folder`, which contains its socket.

    Raises:
        CannotStart: if no URL can contain the path.
    """
    host = str(folder) if _fits(folder) else _short_path(folder)
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(host, safe='/')}&port={PORT}"


def _fits(folder: Path) -> bool:
    """Return whether libpq accepts the path: it must be short, and a comma would separate hosts."""
    path = os.fsencode(folder / SOCKET)
    is_plain = str(folder).isprintable() and not set(str(folder)) & {",", ":"}
    return is_plain and len(path) <= MAX_SOCKET_PATH


def _short_path(folder: Path) -> str:
    """Return a short path of `folder`: a handle that this process keeps open for its children."""
    if sys.platform != "linux":
        raise CannotStart(
            f"the path of {folder} is too long for a socket, or has a character that no URL accepts"
        )
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(handle, True)
    return f"/proc/self/fd/{handle}"
