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


def wait_for(what: Callable[[], bool], seconds: float = SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return False


def processes_in(folder: Path) -> list[str]:
    """Return what runs in `folder` or was started with it, as command lines."""
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
    """Kill what a failed test has left."""
    for line in processes_in(folder):
        with suppress(psutil.Error):
            psutil.Process(int(line.split()[0])).kill()


def without_make(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that `make test` hands to a make below it, which prints
    more then."""
    return {
        name: value
        for name, value in variables.items()
        if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }


class Tree:
    """A copy of the project, uncommitted files included, with what is installed already."""

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
        (folder / ".venv").mkdir()
        for entry in Path(sys.prefix).iterdir():
            if entry.name not in ("run", "dev"):
                (folder / ".venv" / entry.name).symlink_to(entry)
        for part in (
            "run",
            "dev",
        ):  # as requirements/install.py notes it, so that nothing is installed
            requirements = (folder / "requirements" / f"{part}.txt").read_bytes()
            (folder / ".venv" / part).write_text(hashlib.sha256(requirements).hexdigest())

    def environment(self, **settings: str) -> dict[str, str]:
        return without_make(environment(**settings))

    def finished(self, *words: str, **settings: str) -> tuple[int, list[str]]:
        """Run a command to its end and return its code and the lines that it said, make's own left
        out."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment(**settings), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, [
            line for line in done.stdout.splitlines() if not line.startswith("make:")
        ]


class Run:
    """`make run` in a tree, in a process group of its own as a terminal would give it; a context
    manager."""

    def __init__(self, tree: Tree, under: Sequence[str] = (), **settings: str) -> None:
        self.tree = tree
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.jobs = f"{self.url}/api/scrape-jobs"
        self._output = tree.folder / f"output-{self.port}"
        with self._output.open("w") as output:
            self.make = subprocess.Popen(
                [*under, "make", "run"], cwd=tree.folder, env=tree.environment(PORT=str(self.port), **settings),
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> "Run":
        assert wait_for(lambda: self.make.poll() is not None or self.is_ready()), self.output()
        assert self.make.poll() is None, self.output()
        return self

    def __exit__(self, *_: object) -> None:
        if self.make.poll() is None:
            self.interrupt()
            self.make.wait(SECONDS)

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def output(self) -> str:
        return self._output.read_text()

    def gunicorn(self) -> psutil.Process:
        """Return the process that make waits for."""
        (process,) = psutil.Process(self.make.pid).children()
        return process

    def postmaster(self) -> int:
        """Return the process number of the embedded PostgreSQL."""
        return int(
            (self.tree.folder / "var" / "postgres" / "postmaster.pid").read_text().split()[0]
        )

    def answers(self) -> bool:
        """Tell whether a job can be created."""
        try:
            return (
                requests.post(self.jobs, json={"domain": "example.com"}, timeout=10).status_code
                == 201
            )
        except requests.ConnectionError:
            return False

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        os.killpg(self.make.pid, signal.SIGINT)

    def create(self) -> str:
        """Create a job and return its address."""
        answer = requests.post(self.jobs, json={"domain": "example.com"}, timeout=10)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]
