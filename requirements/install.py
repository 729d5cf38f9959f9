"""Make .venv hold what requirements/run.txt names (or dev.txt, too): python3
requirements/install.py run|dev.

`make` calls it before everything else, with the machine's Python, so it needs the standard library
alone. It may be interrupted at any moment: an environment that is not complete is marked, and built
anew the next time.
"""

from __future__ import annotations  # an older Python must come as far as the check of its version

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

REQUIREMENTS = Path(__file__).resolve().parent
VENV = REQUIREMENTS.parent / ".venv"
PYTHON = VENV / "bin" / "python"
UNFINISHED = VENV / "unfinished"
"""Exists while something is installed. Found later, it says that the installation was
interrupted."""

NEEDED = {"run": ["run"], "dev": ["run", "dev"]}
PURPOSES = {"run": "the service needs", "dev": "the tests need"}


class Failure(Exception):
    """The environment cannot be made; the message is one line for people."""


def main(kind: str) -> None:
    """Make the environment complete for `kind`, where it is not."""
    with Path(__file__).open() as lock:
        with suppress(OSError):  # not every shared folder knows locks
            fcntl.flock(lock, fcntl.LOCK_EX)  # two calls of make at once: the second waits
        if not is_sound():
            build(lock)
        for part in NEEDED[kind]:
            if not is_installed(part):
                install(part, lock)


def is_sound() -> bool:
    """Tell whether the environment exists, was not interrupted, and still has the Python that it
    was made for."""
    if UNFINISHED.exists() or not PYTHON.exists():
        return False
    return (
        subprocess.run([PYTHON, "-c", "import pip"], capture_output=True, check=False).returncode
        == 0
    )


def build(lock: IO[str]) -> None:
    """Make the environment anew, with pip alone."""
    if sys.version_info < (3, 11):  # noqa: UP036 - make may name an older one
        raise Failure("Python 3.11 or newer is needed; name it with make PYTHON=...")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Failure(
            "Python lacks the modules venv and ensurepip; on Debian and Ubuntu: apt install python3-venv"
        )
    if VENV.is_symlink():
        raise Failure(
            f".venv is a link to {os.readlink(VENV)}, which holds no complete environment: remove the link"
        )
    if VENV.exists():
        print("Making .venv anew, for it is incomplete ...", flush=True)
        shutil.rmtree(VENV)
    VENV.mkdir()
    UNFINISHED.touch()
    made = call([sys.executable, "-m", "venv", VENV], lock)
    if made.returncode == 0:
        UNFINISHED.unlink()
    else:
        shutil.rmtree(VENV)
        raise Failure("The virtual environment could not be made: see above")


def is_installed(part: str) -> bool:
    """Tell whether the environment holds what the requirements of `part` name today."""
    marker = VENV / part
    return marker.is_file() and marker.read_text() == digest(part)


def install(part: str, lock: IO[str]) -> None:
    """Install the requirements of `part` with pip, and note that they are complete."""
    print(f"Installing what {PURPOSES[part]} into .venv ...", flush=True)
    UNFINISHED.touch()
    words: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    done = call([*words, "--require-hashes", "-r", REQUIREMENTS / f"{part}.txt"], lock)
    UNFINISHED.unlink()  # pip puts back what was there before it failed
    if done.returncode:
        raise Failure("The installation failed: see above")
    (VENV / part).write_text(digest(part))


def digest(part: str) -> str:
    """Return what the requirements of `part` are recognised by."""
    return hashlib.sha256((REQUIREMENTS / f"{part}.txt").read_bytes()).hexdigest()


def call(words: list[str | Path], lock: IO[str]) -> subprocess.CompletedProcess[bytes]:
    """Run a program that keeps the lock, so that it is waited for even where this process is
    killed."""
    return subprocess.run(words, check=False, pass_fds=[lock.fileno()])


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (Failure, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
