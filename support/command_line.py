"""The command line of the Python client, against a running service."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from click.testing import CliRunner, Result
from scrape_jobs.cli.commands import PROGRAM, commands

from support.service import ROOT, wait_until
from support.terminal import Terminal


class CommandLine:
    """Runs `scrape-jobs` for one service, in this process or in one of its own."""

    program = (sys.executable, "-m", "scrape_jobs.cli")

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *arguments: str) -> Result:
        """Run a command in this process, without a terminal."""
        runner = CliRunner(env={"SCRAPE_JOBS_URL": self.url, "SCRAPE_JOBS_KEY": None})
        return runner.invoke(commands, arguments, prog_name=PROGRAM)

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of a process of its own."""
        source = str(ROOT / "clients/python/src")
        return {
            **os.environ,
            "PYTHONPATH": source,
            "SCRAPE_JOBS_URL": self.url,
            "TERM": "xterm-256color",
            "COLUMNS": "120",
            **variables,
        }

    @contextmanager
    def running(self, *arguments: str) -> Iterator["RunningCommand"]:
        """Run a command with its output in a pipe or file, and kill it at the end."""
        with tempfile.NamedTemporaryFile("w+") as out, tempfile.NamedTemporaryFile("w+") as err:
            process = subprocess.Popen(
                [*self.program, *arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
            try:
                yield RunningCommand(process, out, err)
            finally:
                process.kill()
                process.wait()

    def in_terminal(self, script: str, **variables: str) -> Terminal:
        """Run a shell script in a pseudo-terminal; `$SJ` in it is the program."""
        env = self.environment(SJ=shlex.join(self.program), **variables)
        return Terminal(["bash", "-c", script], cwd=ROOT, env=env)


class RunningCommand:
    """A command that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: IO[str], err: IO[str]) -> None:
        self.process = process
        self._out = Path(out.name)
        self._err = Path(err.name)

    def output(self) -> str:
        """Return its standard output so far."""
        return self._out.read_text()

    def errors(self) -> str:
        """Return its standard error so far."""
        return self._err.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed `text`."""
        wait_until(lambda: text in self.output() + self.errors() or self.process.poll() is not None)
        assert text in self.output() + self.errors()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)
