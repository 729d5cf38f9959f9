"""The service as separate processes, called over real HTTP."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil
import requests
from flask import Flask

from app.database.tenant_scope import all_customers

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
READY_SECONDS = 60


def free_port() -> int:
    """Return a free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of this process, with only these settings of the service."""
    ours = (
        "DATABASE_URL", "HOST", "PORT", "SERVER", "WEB_CONCURRENCY", "THREADS", "LOG_LEVEL",
        "REDIS_URL",
    )  # fmt: skip
    inherited = {
        k: v for k, v in os.environ.items() if k not in ours and not k.startswith("SCRAPE_JOBS_")
    }
    return {
        **inherited,
        "SCRAPE_JOBS_AUTH": "off",
        "SCRAPE_JOBS_RATE_LIMIT": "off",
        "SCRAPE_JOBS_DRAIN_SECONDS": "0",
        **settings,
    }


class Service:
    """`gunicorn wsgi:app` with the settings in its environment; a context manager."""

    def __init__(self, database_url: str, **settings: str) -> None:
        self.port = int(settings.get("PORT") or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.jobs = f"{self.url}/api/scrape-jobs"
        self._settings = {"DATABASE_URL": database_url, "PORT": str(self.port), **settings}
        # Closed with the service.
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("gunicorn"), "wsgi:app"],
            cwd=ROOT,
            env=environment(**self._settings),
            stdout=self._log,
            stderr=self._log,
            text=True,
        )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                requests.get(f"{self.url}/healthz", timeout=2)
            except (requests.ConnectionError, requests.Timeout):
                time.sleep(0.05)
            else:
                return self
        raise AssertionError(f"the service did not start:\n{self.logs()}")

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._log.close()

    def logs(self) -> str:
        """Return its output so far."""
        return Path(self._log.name).read_text()

    def master(self) -> psutil.Process:
        """Return the master process, which supervises the workers."""
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes."""
        return self.master().children()

    def pids(self) -> set[int]:
        """Return the ids of its processes."""
        assert self.process is not None
        return {
            self.process.pid,
            *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True)),
        }

    def at_once(self, *calls: Callable[[requests.Session], T]) -> list[T]:
        """Make all calls at the same moment, each over its own connection, open already."""
        barrier = threading.Barrier(len(calls), timeout=30)

        def wait_and_call(call: Callable[[requests.Session], T]) -> T:
            with requests.Session() as session:
                session.get(f"{self.url}/healthz", timeout=30)
                barrier.wait()
                return call(session)

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(wait_and_call, calls))

    def create(self, **fields: Any) -> dict[str, Any]:
        """Create a job and return it."""
        answer = requests.post(self.jobs, json={"domain": "example.com", **fields}, timeout=30)
        assert answer.status_code == 201, answer.text
        job: dict[str, Any] = answer.json()["data"]
        return job

    def change(self, job_id: str, **fields: Any) -> dict[str, Any]:
        """Change a job and return it."""
        answer = requests.put(f"{self.jobs}/{job_id}", json=fields, timeout=30)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()["data"]
        return job

    def webhook(self, url: str, **fields: Any) -> dict[str, Any]:
        """Create a webhook endpoint and return it, with its secret."""
        answer = requests.post(f"{self.url}/api/webhooks", json={"url": url, **fields}, timeout=30)
        assert answer.status_code == 201, answer.text
        webhook: dict[str, Any] = answer.json()["data"]
        return webhook

    def deliveries(self, webhook_id: str) -> list[dict[str, Any]]:
        """Return the endpoint's last 200 deliveries, newest first."""
        answer = requests.get(
            f"{self.url}/api/webhooks/{webhook_id}/deliveries?limit=200", timeout=10
        )
        assert answer.status_code == 200, answer.text
        deliveries: list[dict[str, Any]] = answer.json()["data"]
        return deliveries


class Dispatcher:
    """`flask webhooks dispatch` with the settings in its environment; a context manager."""

    def __init__(self, database_url: str, **settings: str) -> None:
        self._settings = {"DATABASE_URL": database_url, **settings}
        # Closed with the dispatcher.
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "wsgi", "webhooks", "dispatch"],
            cwd=ROOT,
            env=environment(**self._settings),
            stdout=self._log,
            stderr=self._log,
            text=True,
        )

    def end(self, seconds: float = 30) -> int:
        """Send SIGTERM, wait for the end, and return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def logs(self) -> str:
        """Return its output so far."""
        return Path(self._log.name).read_text()

    def __enter__(self) -> Self:
        self.start()
        wait_until(lambda: "Delivering webhooks" in self.logs(), READY_SECONDS)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        assert self.process is not None
        try:
            if self.process.poll() is None and kind is None:
                self.end()
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()


@contextmanager
def own_work(app: Flask) -> Iterator[None]:
    """Work in the application context, with the rows of all customers, as background tasks do."""
    with app.app_context(), all_customers():
        yield


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until `condition` holds; fail after `seconds`.

    The checks become less frequent, because a condition may be expensive.
    """
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        assert waited < seconds, f"not within {seconds} s"
        time.sleep(min(0.02 + waited / 20, 0.25))
