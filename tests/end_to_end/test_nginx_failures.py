"""nginx's own errors have the format of the service's errors, and the right status."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path

import pytest
import requests

from support.nginx import EXAMPLE, nginx
from support.service import Service, free_port

HOST = b"Host: x\r\n"
REFUSED = {
    "garbage": (400, b"GARBAGE\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "bad host": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "bad length": (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: many\r\n\r\n"),
    "bad chunk": (400, b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "long header": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X-Large: " + b"a" * 40_000 + b"\r\n\r\n"),
    "trace": (405, b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "large body": (413, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9000000\r\n\r\n"),
    "long address": (414, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "transfer coding": (501, b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n"),
    "version": (505, b"GET / HTTP/3.0\r\n" + HOST + b"\r\n"),
}


def assert_failure(body: bytes) -> None:
    document = json.loads(body)
    assert document["success"] is False
    assert document["error"] != "Request failed"
    assert set(document) <= {"success", "error", "details"}


def send(front: str, request: bytes) -> tuple[HTTPResponse, bytes]:
    with socket.create_connection(
        ("127.0.0.1", int(front.rpartition(":")[2])), timeout=10
    ) as connection:
        connection.sendall(request)
        response = HTTPResponse(connection)
        response.begin()
        return response, response.read()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Iterator[str]:
    """The URL of an nginx in front of the service, with a path for each status of nginx."""
    fails = "".join(
        f"    location = /fail/{status} {{ return {status}; }}\n" for status in STATUSES
    )
    with nginx(tmp_path_factory.mktemp("nginx"), service.port, server=fails) as url:
        yield url


STATUSES = (
    400,
    401,
    403,
    404,
    405,
    411,
    413,
    414,
    416,
    421,
    429,
    495,
    496,
    497,
    500,
    501,
    502,
    503,
    505,
)


@pytest.mark.parametrize("case", REFUSED)
def test_refused_request_gets_json(front: str, case: str) -> None:
    status, request = REFUSED[case]
    response, body = send(front, request)
    assert response.status == status
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Request-ID"]
    assert_failure(body)


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_of_nginx_has_json(front: str, status: int) -> None:
    for method in ("GET", "PUT"):
        answer = requests.request(
            method, f"{front}/fail/{status}", headers={"X-Request-ID": "mine"}, timeout=10
        )
        assert answer.status_code == (400 if 495 <= status <= 497 else status)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Request-ID"] == "mine"
        assert_failure(answer.content)


def test_unfit_request_id_is_replaced(front: str) -> None:
    for unfit in ("a b", "x" * 129, 'a"b', "é"):
        answer = requests.get(
            f"{front}/fail/404", headers={"X-Request-ID": unfit.encode()}, timeout=10
        )
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_example_of_limits_answers_429(folder: Path, service: Service) -> None:
    limits = re.findall(r"^ *# (limit_req.*;)", EXAMPLE.read_text(), re.MULTILINE)
    zone, *rest = (
        line.replace("100r/s", "1r/m").replace("burst=200", "burst=1") for line in limits
    )
    with nginx(folder, service.port, server="\n".join(rest), http=zone) as front:
        answers = [requests.get(f"{front}/healthz", timeout=30) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert answers[-1].json() == {"success": False, "error": "Too many requests"}


def test_server_that_is_down_is_502(folder: Path) -> None:
    with nginx(folder, free_port()) as front:
        for method in ("GET", "PUT", "POST", "DELETE"):
            answer = requests.request(method, f"{front}/api/scrape-jobs/1", json={}, timeout=30)
            assert (answer.status_code, answer.json()["details"]) == (
                502,
                "The service does not answer",
            )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST", "PATCH"])
def test_server_that_is_silent_is_504(folder: Path, method: str) -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=_collect, args=(silent, received), daemon=True).start()
        with nginx(folder, silent.getsockname()[1], proxy_read_timeout="1s") as front:
            answer = requests.request(method, f"{front}/api/scrape-jobs/1", json={}, timeout=30)
    assert answer.status_code == 504
    assert answer.json()["details"] == "The service does not answer in time"
    assert [data.split()[0].decode() for data in received] == [method]


def _collect(listener: socket.socket, received: list[bytes]) -> None:
    kept = []
    with suppress(OSError):
        while True:
            kept.append(listener.accept()[0])
            received.append(kept[-1].recv(1000))
