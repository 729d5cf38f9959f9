"""Kept-alive connections: without ``Connection: close`` a connection serves the next request."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import pytest
import requests
from flask import Flask

from app.api_keys import service as api_keys
from app.api_keys.scopes import Scope
from app.database.tenant_scope import all_customers
from support.nginx import nginx
from support.service import Service

MIB = 1024 * 1024
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class AuthorizationHeaders:
    """The Authorization header of each caller."""

    administrator: Mapping[str, str]
    reader: Mapping[str, str]


@pytest.fixture(scope="module")
def keys(app: Flask) -> AuthorizationHeaders:
    """A key for everything, and one for reading jobs."""
    with app.app_context(), all_customers():
        made = [
            api_keys.create("a test's key", scopes, None, None)[0]
            for scopes in ((Scope.ALL,), (Scope.JOBS_READ,))
        ]
    return AuthorizationHeaders(*({"Authorization": f"Bearer {key}"} for key in made))


@pytest.fixture(scope="module")
def service_with_keys(database_url: str) -> Iterator[Service]:
    """A service that requires API keys and allows one creation a minute."""
    settings = {
        "SCRAPE_JOBS_AUTH": "keys",
        "SCRAPE_JOBS_RATE_LIMIT": "on",
        "SCRAPE_JOBS_RATE_LIMIT_CREATIONS": "1",
        "WEB_CONCURRENCY": "1",
    }
    with Service(database_url, **settings) as service:
        yield service


def ask(
    connection: socket.socket, line: str, headers: Mapping[str, str], body: bytes = b""
) -> HTTPResponse:
    """Send a request and return its answer, read to the end."""
    head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "x", **headers}.items())
    sender = threading.Thread(
        target=_send, args=(connection, f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body)
    )
    sender.start()  # while the answer is read, as a proxy does
    response = HTTPResponse(connection, method=line.split()[0])
    response.begin()
    response.read()
    sender.join()
    return response


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:  # the connection was closed; the answer must announce that
        return


def assert_kept_or_closed(
    service: Service, status: int, line: str, headers: Mapping[str, str], body: bytes
) -> None:
    """Assert that the connection is closed as announced, or serves another request."""
    for delay in (0, 0.5):
        with socket.create_connection(("127.0.0.1", service.port), timeout=15) as connection:
            response = ask(connection, line, headers, body)
            assert response.status == status
            if (response.headers["Connection"] or "").lower() == "close":
                continue
            time.sleep(delay)
            assert ask(connection, "GET /healthz", {}).status == 200


def large_job(size: int = MIB) -> bytes:
    """Return the JSON text of a job with `size` bytes."""
    document = json.dumps({"domain": "example.com", "metadata": {"a": ""}})
    return document.replace('""', f'"{"x" * (size - len(document))}"').encode()


def chunked(body: bytes) -> bytes:
    """Return `body` in chunked transfer coding, in two chunks."""
    chunks = (body[:70_000], body[70_000:])
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


CASES: Mapping[str, tuple[int, str, Mapping[str, str], bytes]] = {
    "no JSON": (400, "POST /api/scrape-jobs", JSON, b"x" * MIB),
    "no route": (404, "POST /nowhere", JSON, large_job()),
    "no job": (
        404,
        "PUT /api/scrape-jobs/0190f3a0-0000-7000-8000-000000000000",
        JSON,
        large_job(100_000),
    ),
    "no method": (405, "POST /healthz", JSON, large_job()),
    "too large": (413, "POST /api/scrape-jobs", JSON, b"x" * (MIB + 50_000)),
    "far too large": (413, "POST /api/scrape-jobs", JSON, b"x" * (20 * MIB)),
    "no JSON type": (415, "POST /api/scrape-jobs", {"Content-Type": "text/plain"}, large_job()),
    "options": (200, "OPTIONS /api/scrape-jobs", JSON, large_job()),
    "get": (200, "GET /healthz", JSON, large_job()),
    "head": (200, "HEAD /healthz", JSON, large_job()),
    "expect": (404, "POST /nowhere", {**JSON, "Expect": "100-continue"}, large_job()),
}


@pytest.mark.parametrize("case", CASES)
def test_connection_survives_large_body(service: Service, case: str) -> None:
    status, line, headers, body = CASES[case]
    assert_kept_or_closed(
        service, status, line, {**headers, "Content-Length": str(len(body))}, body
    )


@pytest.mark.parametrize("case", [case for case in CASES if case != "expect"])
def test_connection_survives_large_chunked_body(service: Service, case: str) -> None:
    status, line, headers, body = CASES[case]
    assert_kept_or_closed(
        service, status, line, {**headers, "Transfer-Encoding": "chunked"}, chunked(body)
    )


def test_connection_survives_failed_precondition(service: Service) -> None:
    job = service.create()
    body = json.dumps({"status": "running", "error_message": "x" * MIB})[:MIB].encode()
    for status, line, headers in (
        (412, f"DELETE /api/scrape-jobs/{job['id']}", {"If-Match": '"999"'}),
        (200, f"DELETE /api/scrape-jobs/{job['id']}", {}),
        (409, f"DELETE /api/scrape-jobs/{job['id']}", {}),
    ):
        with socket.create_connection(("127.0.0.1", service.port), timeout=15) as connection:
            response = ask(connection, line, {**headers, "Content-Length": str(len(body))}, body)
            assert response.status == status
            assert ask(connection, "GET /healthz", {}).status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_connection_survives_or_announces_its_end(
    service_with_keys: Service, keys: AuthorizationHeaders, framing: str
) -> None:
    body = large_job()
    length = (
        {"Content-Length": str(len(body))}
        if framing == "length"
        else {"Transfer-Encoding": "chunked"}
    )
    data = body if framing == "length" else chunked(body)
    post = "POST /api/scrape-jobs"
    for status, headers in (
        (401, {}),
        (401, {"Authorization": "Bearer wrong"}),
        (403, keys.reader),
    ):
        assert_kept_or_closed(service_with_keys, status, post, {**JSON, **length, **headers}, data)
    requests.post(
        service_with_keys.jobs,
        json={"domain": "example.com"},
        headers=keys.administrator,
        timeout=10,
    )
    assert_kept_or_closed(
        service_with_keys, 429, post, {**JSON, **length, **keys.administrator}, data
    )


@pytest.mark.timed
def test_stalled_body_of_refused_request_is_closed(service_with_keys: Service) -> None:
    with socket.create_connection(("127.0.0.1", service_with_keys.port), timeout=15) as connection:
        started = time.monotonic()
        response = ask(connection, "POST /api/scrape-jobs", {"Content-Length": "1000"}, b"{")
        assert (response.status, response.headers["Connection"]) == (401, "close")
        assert time.monotonic() - started < 10


@pytest.mark.timed
def test_lingering_clients_do_not_delay_others(service_with_keys: Service) -> None:
    with ExitStack() as stack:
        for number in range(8):
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", service_with_keys.port), timeout=15)
            )
            length = {"Content-Length": "1000"} if number % 2 else {"Connection": "close"}
            response = ask(connection, "POST /api/scrape-jobs", length)
            assert (response.status, response.headers["Connection"]) == (401, "close")
        started = time.monotonic()
        assert requests.get(f"{service_with_keys.url}/healthz", timeout=30).status_code == 200
        assert time.monotonic() - started < 10


def test_refused_bodies_behind_nginx_harm_no_request(
    folder: Path, service_with_keys: Service, keys: AuthorizationHeaders
) -> None:
    done = threading.Event()
    refused: list[int] = []
    body = b"x" * 70_000

    def send_with_wrong_key() -> None:
        with requests.Session() as session:
            while not done.is_set():
                headers = {**JSON, "Authorization": "Bearer wrong"}
                refused.append(
                    session.post(
                        f"{front}/api/scrape-jobs", data=body, headers=headers, timeout=10
                    ).status_code
                )

    with nginx(folder, service_with_keys.port) as front, requests.Session() as session:
        senders = [threading.Thread(target=send_with_wrong_key) for _ in range(4)]
        for sender in senders:
            sender.start()
        answers = [
            session.get(
                f"{front}/api/scrape-jobs?limit=1", headers=keys.administrator, timeout=10
            ).status_code
            for _ in range(300)
        ]
        done.set()
        for sender in senders:
            sender.join()
    assert set(answers) == {200}
    assert set(refused) == {401}
