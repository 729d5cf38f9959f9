"""The example configuration for nginx, in front of the service."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from support.factories import new_domain
from support.nginx import nginx
from support.service import Service
from support.streams import EventSource


@pytest.fixture
def front(folder: Path, service: Service) -> Iterator[str]:
    """The URL of an nginx in front of the service."""
    with nginx(folder, service.port) as url:
        yield url


def test_job_lifecycle_behind_nginx(front: str) -> None:
    with requests.Session() as session:
        created = session.post(
            f"{front}/api/scrape-jobs", json={"domain": new_domain()}, timeout=10
        )
        assert created.status_code == 201
        url = front + created.headers["Location"]
        assert session.get(url, timeout=30).json()["data"] == created.json()["data"]
        for status in ("running", "completed"):
            assert (
                session.put(url, json={"status": status}, timeout=30).json()["data"]["status"]
                == status
            )
        assert session.delete(url, timeout=30).status_code == 409
        assert session.get(url, timeout=30).headers["Server"] == "nginx"


def test_weakened_etag_works_in_preconditions(front: str, service: Service) -> None:
    url = f"{front}/api/scrape-jobs/{service.create()['id']}"
    first = requests.get(url, headers={"Accept-Encoding": "gzip"}, timeout=30)
    assert first.headers["Content-Encoding"] == "gzip"
    tag = first.headers["ETag"]
    assert tag.startswith("W/")
    known = requests.get(url, headers={"Accept-Encoding": "gzip", "If-None-Match": tag}, timeout=30)
    assert (known.status_code, known.content) == (304, b"")
    assert (
        requests.put(
            url, json={"stats": {"a": 1}}, headers={"If-Match": tag}, timeout=10
        ).status_code
        == 200
    )
    assert (
        requests.put(
            url, json={"stats": {"a": 2}}, headers={"If-Match": tag}, timeout=10
        ).status_code
        == 412
    )
    assert requests.get(url, headers={"If-None-Match": tag}, timeout=30).json()["data"][
        "stats"
    ] == {"a": 1}


def test_request_id_is_passed_on_or_generated(front: str, service: Service) -> None:
    given = requests.get(
        f"{front}/api/scrape-jobs", headers={"X-Request-ID": "through-nginx.1"}, timeout=10
    )
    assert given.headers["X-Request-ID"] == "through-nginx.1"
    made = requests.get(f"{front}/api/scrape-jobs", timeout=30).headers["X-Request-ID"]
    assert f'"request_id": "{made}"' in service.logs()


@pytest.mark.parametrize(
    "size", [1_060_000, 3_000_000], ids=["refused by the service", "refused by nginx"]
)
def test_large_body_gets_same_error_from_both(front: str, size: int) -> None:
    for _ in range(3):
        answer = requests.post(
            f"{front}/api/scrape-jobs",
            data=b"x" * size,
            headers={"Content-Type": "application/json"},
            timeout=10,
        )
        assert answer.status_code == 413
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == {
            "success": False,
            "error": "Request body too large",
            "details": "A body may have at most 1 MiB",
        }


def test_rejected_body_does_not_harm_other_requests(front: str) -> None:
    headers = {"Content-Type": "application/json"}
    for _ in range(30):
        refused = requests.post(
            f"{front}/api/scrape-jobs", data=b"x" * 1_060_000, headers=headers, timeout=10
        )
        other = requests.get(f"{front}/healthz", timeout=30)
        assert (refused.status_code, other.status_code) == (413, 200)


def test_error_of_nginx_has_common_format(front: str) -> None:
    port = int(front.rpartition(":")[2])
    for head, status in (
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 40_000 + b"\r\n\r\n", 400),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(head)
            response = http.client.HTTPResponse(connection)
            response.begin()
            document = json.loads(response.read())
            assert response.status == status
            assert document["success"] is False


def test_event_stream_passes_unbuffered(front: str, service: Service) -> None:
    job = service.create()
    with EventSource(f"{front}/api/scrape-jobs/{job['id']}/events").ready() as source:
        assert source.response.headers["Server"] == "nginx"
        began = time.monotonic()
        service.change(job["id"], status="running")
        source.wait_for_version(job["id"], 2)
        assert time.monotonic() - began < 8  # nginx would hold it until the heartbeat, or longer
        source.wait(lambda source: "heartbeat" in source.comments, 40)
        service.change(job["id"], status="completed")
        source.wait_for_version(job["id"], 3)


class Dying:
    """An upstream that answers GET and breaks off its response to any other method."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while line := lines.readline():
                head = [line.decode()]
                while (line := lines.readline()).strip():
                    head.append(line.decode())
                lengths = [
                    int(each.split(":")[1])
                    for each in head
                    if each.lower().startswith("content-length:")
                ]
                lines.read(sum(lengths))
                self.heads.append("".join(head))
                if not head[0].startswith("GET "):
                    connection.sendall(b"HTTP/1.1 20")
                    return
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.fixture
def dying() -> Iterator[Dying]:
    upstream = Dying()
    yield upstream
    upstream.close()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH"])
def test_change_with_lost_response_is_not_repeated(folder: Path, dying: Dying, method: str) -> None:
    with nginx(folder, dying.port) as front:
        for _ in range(3):
            # nginx would repeat a request on a kept-alive connection to the upstream.
            assert requests.get(f"{front}/healthz", timeout=30).status_code == 200
            dying.heads.clear()
            answer = requests.request(method, f"{front}/api/scrape-jobs/1", json={}, timeout=30)
            assert answer.status_code == 502
            assert answer.json()["error"] == "Bad gateway"
            assert [head.split()[0] for head in dying.heads] == [method]


def test_nginx_forwards_client_and_request_id(folder: Path, dying: Dying) -> None:
    with nginx(folder, dying.port) as front:
        requests.get(
            f"{front}/x",
            headers={"X-Forwarded-For": "192.0.2.7", "X-Request-ID": "one"},
            timeout=10,
        )
    (head,) = dying.heads
    assert "X-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n" in head
    assert "X-Request-ID: one\r\n" in head
    assert f"Host: {front.removeprefix('http://')}\r\n" in head
    assert "connection:" not in head.lower()
