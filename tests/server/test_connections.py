"""Connections of gunicorn's workers: kept on a thread, and shared fairly."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest
import requests

from support.service import Service

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def single(database_url: str) -> Iterator[Service]:
    """A service of one process with one thread."""
    with Service(database_url, WEB_CONCURRENCY="1", THREADS="1") as service:
        yield service


def test_busy_connection_leaves_thread_to_others(single: Service) -> None:
    ends = threading.Event()
    answered = []

    def call_without_pause() -> None:
        with requests.Session() as session:
            while not ends.is_set():
                answered.append(session.get(f"{single.url}/healthz", timeout=30).status_code)

    busy = threading.Thread(target=call_without_pause)
    busy.start()
    try:
        for _ in range(20):
            assert requests.get(f"{single.url}/healthz", timeout=30).status_code == 200
    finally:
        ends.set()
        busy.join()
    assert len(answered) > 1
    assert set(answered) == {200}


def test_pipelined_requests_are_answered_in_order(single: Service) -> None:
    paths = ["/healthz", "/nowhere", "/healthz", "/api/scrape-jobs/x"]
    with socket.create_connection(("127.0.0.1", single.port), timeout=30) as connection:
        lines = (f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths)
        connection.sendall("".join(lines).encode())
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200", b"400"]


def test_next_request_follows_body_of_previous(single: Service) -> None:
    body = b'{"domain": "kept.example"}'
    post = (
        b"POST /api/scrape-jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    with socket.create_connection(("127.0.0.1", single.port), timeout=30) as connection:
        connection.sendall((post + GET) * 3)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 201") == 3
    assert received.count(b'"status":"ok"') == 3


def test_idle_connection_is_kept_for_later(single: Service) -> None:
    with socket.create_connection(("127.0.0.1", single.port), timeout=30) as connection:
        for _ in range(3):
            connection.sendall(GET)
            response = HTTPResponse(connection)
            response.begin()
            assert (response.status, json.loads(response.read())["success"]) == (200, True)
            time.sleep(0.1)  # longer than a thread waits for the next request
