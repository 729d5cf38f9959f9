"""A real Redis server for tests, on a free port of the loopback address, without files."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
import pytest
from redis import Redis as Client
from redis.exceptions import RedisError

from support.service import free_port, wait_until


class Redis:
    """A `redis-server` that can be started, frozen and killed; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = Client(
            host="127.0.0.1", port=self.port, socket_timeout=5, socket_connect_timeout=5
        )
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.client.close()

    def start(self) -> None:
        """Start it, empty, and wait until it answers.

        Without the program redis-server the test is skipped; in CI it fails.
        """
        program = shutil.which(
            "redis-server", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin"
        )
        if program is None:
            missing = "redis-server is not installed"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            [program, *place, "--save", "", "--appendonly", "no", "--daemonize", "no"],
            stdout=subprocess.DEVNULL,
        )
        wait_until(self.answers, 30)

    def answers(self) -> bool:
        """Return whether it answers."""
        assert self._process is not None
        assert self._process.poll() is None, "redis-server has ended"
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    def kill(self) -> None:
        """End it at once; from then on its port refuses connections."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspend it: connections are kept and new ones accepted, but nothing is answered."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def clear(self) -> None:
        """Delete all keys."""
        self.client.flushall()
