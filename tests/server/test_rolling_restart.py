"""Rolling restart: two instances behind nginx restart one after the other, without failures."""

import signal
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from http.client import HTTPResponse
from pathlib import Path

import psycopg2
import pytest
import requests

from support.nginx import nginx
from support.servers import SERVERS
from support.service import Service, free_port, wait_until

PAUSE_SECONDS = 1.5
"""Longer than nginx avoids an instance that has refused a connection."""

CALLER_PAUSE_SECONDS = 0.01
"""Pause of a caller after each request; without it, the callers slow down the restarts."""


class Callers:
    """Threads that read and change jobs all the time; a context manager."""

    def __init__(self, url: str, count: int) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.changed: dict[str, int] = {}
        self._url = f"{url}/api/scrape-jobs"
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(number % 2 == 0,)) for number in range(count)
        ]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _call(self, keeps_connection: bool) -> None:
        with requests.Session() as session:
            session.headers["Connection"] = "keep-alive" if keeps_connection else "close"
            job = session.post(self._url, json={"domain": "rolling.example"}, timeout=30).json()[
                "data"
            ]
            number = 0
            while not self._ends.is_set():
                number += 1
                document = {"stats": {"number": number}}
                for method, path, body in (
                    ("PUT", f"/{job['id']}", document),
                    ("GET", f"/{job['id']}", None),
                    ("POST", "", {"domain": "rolling.example"}),
                ):
                    answer = session.request(method, f"{self._url}{path}", json=body, timeout=30)
                    self.answers[method, answer.status_code] += 1
                    time.sleep(CALLER_PAUSE_SECONDS)
            self.changed[job["id"]] = number


@pytest.mark.parametrize("server", SERVERS)
def test_rolling_restart_fails_no_request(folder: Path, database_url: str, server: str) -> None:
    ports = free_port(), free_port()
    settings = {
        "SERVER": server,
        "SCRAPE_JOBS_DRAIN_SECONDS": "1",
        "LOG_LEVEL": "WARNING",
    }
    with ExitStack() as stack:
        running = {
            port: stack.enter_context(Service(database_url, PORT=str(port), **settings))
            for port in ports
        }
        front = stack.enter_context(nginx(folder, *ports))
        with Callers(front, 4) as callers:
            for port in ports:
                time.sleep(PAUSE_SECONDS)
                stopped = running[port].process
                assert stopped is not None
                stopped.send_signal(signal.SIGTERM)
                stopped.wait(60)
                running[port] = stack.enter_context(
                    Service(database_url, PORT=str(port), **settings)
                )
        assert set(callers.answers) == {("PUT", 200), ("GET", 200), ("POST", 201)}, callers.answers
        assert sum(callers.answers.values()) > 100
        connection = stack.enter_context(closing(psycopg2.connect(database_url)))
        with connection.cursor() as cursor:
            for job, changes in callers.changed.items():
                cursor.execute("SELECT count(*) FROM job_events WHERE job_id = %s", (job,))
                assert cursor.fetchone() == (1 + changes,)  # its creation, and each change once


@pytest.mark.parametrize("server", SERVERS)
def test_stopping_server_accepts_until_it_is_drained(database_url: str, server: str) -> None:
    with (
        Service(database_url, SERVER=server, SCRAPE_JOBS_DRAIN_SECONDS="3") as service,
        requests.Session() as kept,
    ):
        answer = kept.get(f"{service.url}/healthz", timeout=30)
        assert answer.headers.get("Connection", "keep-alive") == "keep-alive"
        service.master().terminate()
        started = time.monotonic()
        time.sleep(0.5)
        ready = requests.get(f"{service.url}/readyz", timeout=30)
        assert (ready.status_code, ready.json()["details"]) == (503, "The server is stopping")
        while time.monotonic() - started < 2:
            answer = requests.get(f"{service.url}/healthz", timeout=30)
            assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
            time.sleep(0.05)
        answer = kept.get(f"{service.url}/healthz", timeout=30)
        assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
        assert service.process is not None
        service.process.wait(60)


@pytest.mark.parametrize("server", SERVERS)
def test_reloading_server_stays_ready(database_url: str, server: str) -> None:
    with (
        Service(database_url, SERVER=server, SCRAPE_JOBS_DRAIN_SECONDS="2") as service,
        requests.Session() as kept,
    ):
        before = service.workers()
        assert kept.get(f"{service.url}/readyz", timeout=30).status_code == 200
        service.master().send_signal(signal.SIGHUP)
        while any(worker.is_running() for worker in before):
            for session in (requests, kept):
                assert session.get(f"{service.url}/readyz", timeout=30).status_code == 200
            time.sleep(0.05)


@pytest.mark.parametrize("server", SERVERS)
def test_request_under_way_does_not_keep_listeners_open(database_url: str, server: str) -> None:
    """A connection that no worker will accept is refused, so that a proxy tries another server."""
    with (
        Service(database_url, SERVER=server, SCRAPE_JOBS_DRAIN_SECONDS="1", THREADS="2") as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=20) as slow,
    ):
        head = "POST /api/scrape-jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        slow.sendall(f"{head}Content-Length: 29\r\n\r\n".encode())
        time.sleep(0.5)
        service.master().terminate()

        def refuses() -> bool:
            try:
                requests.get(f"{service.url}/healthz", timeout=30)
            except requests.ConnectionError:
                return True
            return False

        wait_until(refuses, 8)
        slow.sendall(b'{"domain": "drained.example"}')
        response = HTTPResponse(slow)
        response.begin()
        response.read()
        assert response.status == 201
