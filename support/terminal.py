"""A command in its own terminal, as a user starts it in a window."""

import os
import pty
import select
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

OWN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A shell that runs a command in the foreground of a terminal.

    A context manager, which kills the remaining processes at its end.
    """

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self._controller, terminal = pty.openpty()
        self._shell = subprocess.Popen(
            [sys.executable, "-c", OWN, "bash", "-c", f"{shlex.join(command)}; true"],
            cwd=cwd,
            env=env,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        self._output = b""
        self._started: set[psutil.Process] = set()
        self._is_open = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shell.poll() is None:
            self.processes()
        for process in self._started:
            with suppress(psutil.Error):
                process.kill()
        self.close()
        self._shell.wait(60)

    def processes(self) -> list[psutil.Process]:
        """Return the shell and all its descendants."""
        shell = psutil.Process(self._shell.pid)
        found = [shell, *shell.children(recursive=True)]
        self._started |= set(found)
        return found

    def close(self) -> None:
        """Close the terminal, as closing its window does."""
        if self._is_open:
            self._is_open = False
            self._reader.join()  # a waiting read would keep the terminal open
            os.close(self._controller)
            threading.Thread(target=self._shell.wait, daemon=True).start()

    def output(self) -> str:
        """Return the output so far."""
        return self._output.decode(errors="replace")

    def type(self, text: str) -> None:
        """Press keys; `\\x03` is Ctrl-C."""
        os.write(self._controller, text.encode())

    def _read(self) -> None:
        with suppress(OSError):
            while self._is_open:
                if select.select([self._controller], [], [], 0.1)[0]:
                    self._output += os.read(self._controller, 65536)
