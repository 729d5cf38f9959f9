"""The PostgreSQL processes of a data folder, no matter which process started them."""

import hashlib
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

SERVER = ("postgres",)
TOOLS = ("initdb", "pg_", "psql", "vacuumdb")
"""Name prefixes of the programs that create and upgrade data."""


def cluster_name(folder: Path) -> str:
    """Return the name that the title of each process of the server on `folder` contains."""
    return f"scrape-jobs-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"


def works_in(process: psutil.Process, folder: Path, names: tuple[str, ...] = SERVER) -> bool:
    """Return whether `process` runs, works in `folder` and has a name with a prefix in `names`.

    A process id alone proves nothing: it may belong to another program by now, or to a zombie.
    """
    with suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith(names):
            return False
        try:
            return os.path.samefile(process.cwd(), folder)
        except psutil.AccessDenied:  # in a container, root may not inspect another user's processes
            arguments = process.cmdline()
            name = cluster_name(folder)
            return str(folder) in arguments or any(name in argument for argument in arguments)
    return False


def processes_in(folder: Path, names: tuple[str, ...] = SERVER) -> list[psutil.Process]:
    """Return the processes that work in `folder` and have a name with a prefix in `names`."""
    return [process for process in psutil.process_iter() if works_in(process, folder, names)]


def end_tools_in(folder: Path) -> None:
    """Kill the programs that an interrupted start left running on an unfinished data folder."""
    while tools := processes_in(folder, TOOLS):
        for process in tools:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
