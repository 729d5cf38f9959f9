"""A copy of the project, and `make run` in it as people use it."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import requests

from support.service import ROOT, environment, free_port

SECONDS = 60

PARTS = ("run", "dev", "granian")
"""The marks in .venv by which requirements/install.py knows a complete part."""


def wait_for(condition: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Wait until `condition` holds and return True; return False after `seconds`.

    The checks become less frequent, because a condition may be expensive.
    """
    started = time.monotonic()
    while (waited := time.monotonic() - started) < seconds:
        if condition():
            return True
        time.sleep(min(0.05 + waited / 20, 0.25))
    return False


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of processes that run in `folder` or name it in their command."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            if str(folder) in " ".join(words) or process.cwd().startswith(str(folder)):
                found.append(f"{process.pid} {' '.join(words)}")
    return found


def end_processes_in(folder: Path) -> None:
    """Kill the processes that a failed test has left running."""
    for line in processes_in(folder):
        with suppress(psutil.Error):
            psutil.Process(int(line.split()[0])).kill()


def without_make(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that `make test` passes on.

    With them, a make that a test starts would print more.
    """
    return {
        name: value
        for name, value in variables.items()
        if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }


class Tree:
    """A copy of the project, including uncommitted files, with a complete environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self._copy_compiled_code()
        (folder / ".venv").mkdir()
        for entry in Path(sys.prefix).iterdir():
            if entry.name not in PARTS:
                (folder / ".venv" / entry.name).symlink_to(entry)
        for part in PARTS:
            requirements = (folder / "requirements" / f"{part}.txt").read_bytes()
            (folder / ".venv" / part).write_text(hashlib.sha256(requirements).hexdigest())

    def _copy_compiled_code(self) -> None:
        """Copy the compiled code, so that the processes of each tree need not compile it again."""
        for package in ("app", "migrations"):
            for cache in (ROOT / package).rglob("__pycache__"):
                target = self.folder / cache.relative_to(ROOT)
                shutil.copytree(cache, target, dirs_exist_ok=True)

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment of commands in this tree, with these settings."""
        return without_make(environment(**settings))

    def finished(self, *words: str, **settings: str) -> tuple[int, list[str]]:
        """Run a command and return its exit code and its lines, without those of make itself."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment(**settings), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, [
            line for line in done.stdout.splitlines() if not line.startswith("make:")
        ]


class Run:
    """`make run` in a tree, in a process group of its own as in a terminal; a context manager."""

    def __init__(self, tree: Tree, under: Sequence[str] = (), **settings: str) -> None:
        self.tree = tree
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.jobs = f"{self.url}/api/scrape-jobs"
        self._output = tree.folder / f"output-{self.port}"
        with self._output.open("w") as output:
            self.make = subprocess.Popen(
                [*under, "make", "run"],
                cwd=tree.folder,
                env=tree.environment(PORT=str(self.port), **settings),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> "Run":
        assert wait_for(lambda: self.make.poll() is not None or self.is_ready()), self.output()
        assert self.make.poll() is None, self.output()
        return self

    def __exit__(self, *_: object) -> None:
        if self.make.poll() is None:
            self.interrupt()
            self.make.wait(SECONDS)

    def is_ready(self) -> bool:
        """Return whether the service can handle requests."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=30).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def output(self) -> str:
        """Return the output so far."""
        return self._output.read_text()

    def gunicorn(self) -> psutil.Process:
        """Return gunicorn's master, the child of make."""
        (process,) = psutil.Process(self.make.pid).children()
        return process

    def postmaster(self) -> int:
        """Return the process id of the embedded PostgreSQL."""
        return int(
            (self.tree.folder / "var" / "postgres" / "postmaster.pid").read_text().split()[0]
        )

    def answers(self) -> bool:
        """Return whether a job can be created."""
        try:
            return (
                requests.post(self.jobs, json={"domain": "example.com"}, timeout=30).status_code
                == 201
            )
        except requests.ConnectionError:
            return False

    def interrupt(self) -> None:
        """Send SIGINT to the process group, as Ctrl-C does."""
        os.killpg(self.make.pid, signal.SIGINT)

    def create(self) -> str:
        """Create a job and return its path."""
        answer = requests.post(self.jobs, json={"domain": "example.com"}, timeout=30)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]
