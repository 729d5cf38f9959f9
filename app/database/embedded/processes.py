"""The processes of PostgreSQL that work on a data folder, whichever process started them."""

import hashlib
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

SERVER = ("postgres",)
TOOLS = ("initdb", "pg_", "psql", "vacuumdb")
"""The beginnings of the names of the programs that make and upgrade data."""


def cluster_name(folder: Path) -> str:
    """Return the name that stands in the title of every process of the server on `folder`."""
    return f"scrape-jobs-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"


def works_in(process: psutil.Process, folder: Path, names: tuple[str, ...] = SERVER) -> bool:
    """Tell whether `process` lives, has a name that begins with one of `names`, and works in
    `folder`.

    A process number alone says nothing: another program may have it by now, or a zombie.
    """
    with suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith(names):
            return False
        try:
            return os.path.samefile(process.cwd(), folder)
        except psutil.AccessDenied:  # in a container, root may not look at another user's processes
            words = process.cmdline()
            return str(folder) in words or any(cluster_name(folder) in word for word in words)
    return False


def processes_in(folder: Path, names: tuple[str, ...] = SERVER) -> list[psutil.Process]:
    """Return the processes that work in `folder` and have a name that begins with one of
    `names`."""
    return [process for process in psutil.process_iter() if works_in(process, folder, names)]


def end_tools_in(folder: Path) -> None:
    """End what an interrupted start has left at work on an unfinished data folder."""
    while tools := processes_in(folder, TOOLS):
        for process in tools:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
