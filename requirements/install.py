"""Install the locked requirements into .venv: python3 requirements/install.py run|dev|granian ...

`run` stands for requirements/run.txt, `dev` for dev.txt as well, `granian` for the optional
granian.txt as well. `make` calls this first, with the machine's Python, so it uses only the
standard library. It may be interrupted at any moment: an incomplete environment is marked, and
built again the next time.
"""

from __future__ import annotations  # so that an older Python reaches the check of its version

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
"""Exists during an installation; if it exists later, the installation was interrupted."""

NEEDED = {"run": ["run"], "dev": ["run", "dev"], "granian": ["run", "granian"]}
PURPOSES = {
    "run": "the service needs",
    "dev": "the tests need",
    "granian": "the server Granian needs",
}


class Failure(Exception):
    """The environment cannot be made; the message is one line for the user."""


def main(kinds: list[str]) -> None:
    """Complete the environment for all `kinds`."""
    with Path(__file__).open() as lock:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)  # of two simultaneous calls, the second one waits
        if not is_sound():
            build(lock)
        for part in dict.fromkeys(part for kind in kinds for part in NEEDED[kind]):
            if not is_installed(part):
                install(part, lock)


def is_sound() -> bool:
    """Return whether the environment exists, is complete and still has its Python."""
    if UNFINISHED.exists() or not PYTHON.exists():
        return False
    return (
        subprocess.run([PYTHON, "-c", "import pip"], capture_output=True, check=False).returncode
        == 0
    )


def build(lock: IO[str]) -> None:
    """Make a new environment that contains only pip."""
    if sys.version_info < (3, 11):  # noqa: UP036 - PYTHON may name an older one
        raise Failure("Python 3.11 or newer is needed; name it with make PYTHON=...")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Failure(
            "Python lacks the modules venv and ensurepip; "
            "on Debian and Ubuntu: apt install python3-venv"
        )
    if VENV.is_symlink():
        raise Failure(
            f".venv is a link to {os.readlink(VENV)}, which has no complete environment: "
            "remove the link"
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
    """Return whether the current requirements of `part` are installed."""
    marker = VENV / part
    return marker.is_file() and marker.read_text() == digest(part)


def install(part: str, lock: IO[str]) -> None:
    """Install the requirements of `part` with pip, and mark them as complete."""
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
    UNFINISHED.unlink()  # a pip that fails restores the previous packages
    if done.returncode:
        raise Failure("The installation failed: see above")
    (VENV / part).write_text(digest(part))


def digest(part: str) -> str:
    """Return the hash by which the requirements of `part` are recognised."""
    return hashlib.sha256((REQUIREMENTS / f"{part}.txt").read_bytes()).hexdigest()


def call(words: list[str | Path], lock: IO[str]) -> subprocess.CompletedProcess[bytes]:
    """Run a program that inherits the lock, so that others wait for it if this one is killed."""
    return subprocess.run(words, check=False, pass_fds=[lock.fileno()])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Failure, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
