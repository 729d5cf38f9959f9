"""HTTP below the routes: malformed requests, large and incomplete bodies, connections, logs."""

import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import Any

import pytest
import requests
from flask import Flask

from support.service import ROOT, Service, environment

MIB = 1024 * 1024
POST = b"POST /api/scrape-jobs HTTP/1.1\r\nHost: x\r\n"
MANY_HEADERS = b"".join(b"X-%d: a\r\n" % n for n in range(200))


def talk(service: Service, request: bytes) -> tuple[HTTPResponse, bytes]:
    """Send the bytes `request`; return the response and its body."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(request)
        response = HTTPResponse(connection)
        response.begin()
        return response, response.read()


def assert_common_failure(status: int, content_type: str | None, body: bytes) -> dict[str, Any]:
    assert 400 <= status < 500
    assert content_type is not None
    assert content_type.startswith("application/json")
    document: dict[str, Any] = json.loads(body)
    assert document["success"] is False
    assert set(document) <= {"success", "error", "details"}
    assert all(
        isinstance(document[key], str) and document[key] for key in set(document) - {"success"}
    )
    assert not body.lstrip().startswith(b"<")
    return document


@pytest.mark.parametrize(
    ("status", "request_bytes"),
    [
        (400, b"GARBAGE\r\n\r\n"),
        (400, b"GET /healthz\r\n\r\n"),
        (400, b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n"),
        (400, b"G<E>T /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, b"GET /healthz HTTP/1.1\r\nHost: x\r\nthis is no header\r\n\r\n"),
        (400, b"GET /healthz HTTP/1.1\r\nHost: x\r\n<b>bold</b>: x\r\n\r\n"),
        (400, POST + b"Content-Length: many\r\n\r\n"),
        (400, POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
        (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (431, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 20_000 + b"\r\n\r\n"),
        (431, b"GET /healthz HTTP/1.1\r\n" + MANY_HEADERS + b"\r\n"),
    ],
    ids=[
        "garbage", "no version", "unknown version", "method", "header", "header name", "length",
        "two lengths", "long line", "long header", "many headers",
    ],
)  # fmt: skip
def test_malformed_request_gets_common_error(
    service: Service, status: int, request_bytes: bytes
) -> None:
    response, body = talk(service, request_bytes)
    assert_common_failure(response.status, response.headers["Content-Type"], body)
    assert response.status == status
    assert response.headers["X-Request-ID"]
    assert int(response.headers["Content-Length"]) == len(body)


def test_credential_in_broken_header_is_not_logged(service: Service) -> None:
    for line in (
        "Authorization Bearer {}",
        "Authorization: Bearer {}\x01",
        "Authoriz ation: Bearer {}",
    ):
        secret = f"secret{uuid.uuid4().hex}"
        head = f"GET /healthz HTTP/1.1\r\nHost: x\r\n{line.format(secret)}\r\n\r\n"
        response, _ = talk(service, head.encode())
        assert response.status == 400
        assert secret not in service.logs(), line


def too_large() -> bytes:
    return json.dumps({"domain": "example.com", "metadata": {"a": "x" * (5 * MIB)}}).encode()


def test_response_to_large_body_can_be_read(service: Service) -> None:
    for _ in range(5):
        answer = requests.post(
            service.jobs, data=too_large(), headers={"Content-Type": "application/json"}, timeout=10
        )
        assert answer.status_code == 413
        failure = assert_common_failure(
            answer.status_code, answer.headers["Content-Type"], answer.content
        )
        assert failure["error"] == "Request body too large"


def test_request_after_rejected_body_succeeds(service: Service) -> None:
    body = b"x" * (MIB + 5000)
    with requests.Session() as session:
        for _ in range(30):
            refused = session.post(
                service.jobs, data=body, headers={"Content-Type": "application/json"}, timeout=10
            )
            assert refused.status_code == 413
            assert session.get(f"{service.url}/healthz", timeout=30).status_code == 200


def test_curl_reads_response_to_large_body(service: Service) -> None:
    for expect in ("Expect:", "Expect: 100-continue"):
        finished = subprocess.run(
            [
                "curl", "-sS", "-m", "20", "-w", "\n%{http_code}", "-H", expect,
                "-H", "Content-Type: application/json", "--data-binary", "@-", service.jobs,
            ],
            input=too_large(), capture_output=True, check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        body, _, status = finished.stdout.rpartition(b"\n")
        assert (status, json.loads(body)["error"]) == (b"413", "Request body too large")


def test_chunked_body_has_the_same_limit(service: Service) -> None:
    def chunks(total: int) -> Iterator[bytes]:
        yield b'{"domain": "chunked.example", "metadata": {"a": "'
        for _ in range(total // 1000):
            yield b"x" * 1000
        yield b'"}}'

    headers = {"Content-Type": "application/json"}
    answer = requests.post(service.jobs, data=chunks(MIB + 2000), headers=headers, timeout=30)
    assert answer.status_code == 413
    assert_common_failure(answer.status_code, answer.headers["Content-Type"], answer.content)
    assert (
        requests.post(service.jobs, data=chunks(5000), headers=headers, timeout=30).status_code
        == 201
    )


def test_chunked_body_is_not_truncated_at_limit(service: Service) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"domain": "cut.example"}'
        for _ in range(20):
            yield b" " * (MIB // 16)
        yield b"and no JSON at all"

    answer = requests.post(
        service.jobs, data=chunks(), headers={"Content-Type": "application/json"}, timeout=10
    )
    assert answer.status_code == 413, answer.text


def test_connection_serves_several_requests(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        for path, status in (
            ("/healthz", 200),
            ("/nowhere", 404),
            ("/api/scrape-jobs/x", 400),
            ("/healthz", 200),
        ):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            response = HTTPResponse(connection)
            response.begin()
            assert response.status == status
            response.read()


def test_rejected_body_is_not_read_as_request(service: Service) -> None:
    body = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(
            head + body + b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 ") <= 2
    assert b'"status":"ok"' not in received


def lines_about(service: Service, request_id: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in service.logs().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("request_id") == request_id]


def test_modification_is_one_line_with_its_request(service: Service) -> None:
    job = service.create()
    request_id = f"r-{uuid.uuid4()}"
    url = f"{service.jobs}/{job['id']}"
    answer = requests.put(
        url, json={"status": "running"}, headers={"X-Request-ID": request_id}, timeout=10
    )
    assert answer.headers["X-Request-ID"] == request_id
    (line,) = lines_about(service, request_id)
    assert {
        "message": "request",
        "method": "PUT",
        "route": "/api/scrape-jobs/<id>",
        "status": 200,
        "job_id": job["id"],
        "action": "updated",
        "old_status": "pending",
        "new_status": "running",
    }.items() <= line.items()
    assert isinstance(line["ms"], float)
    assert line["at"].endswith("+00:00")


def test_request_without_change_logs_one_line(service: Service) -> None:
    job = service.create()
    for method, url, status in (
        ("GET", f"{service.jobs}/{job['id']}", 200),
        ("PUT", f"{service.jobs}/{job['id']}", 400),
        ("GET", f"{service.url}/nowhere", 404),
    ):
        request_id = f"r-{uuid.uuid4()}"
        body = {"status": "completed"} if method == "PUT" else None
        requests.request(method, url, json=body, headers={"X-Request-ID": request_id}, timeout=30)
        (line,) = lines_about(service, request_id)
        assert (line["message"], line["method"], line["status"]) == ("request", method, status)


def test_log_contains_no_body_or_secret(service: Service) -> None:
    marks = {
        name: f"{name}{uuid.uuid4().hex}"
        for name in ("body", "key", "token", "query", "error", "broken")
    }
    headers = {
        "Authorization": f"Bearer {marks['key']}",
        "X-Lease-Token": marks["token"],
        "Content-Type": "application/json",
    }
    job = requests.post(
        service.jobs,
        json={"domain": "example.com", "metadata": {"note": marks["body"]}},
        headers=headers,
        timeout=10,
    ).json()["data"]
    url = f"{service.jobs}/{job['id']}"
    requests.put(
        url, json={"error_message": f"password={marks['error']}"}, headers=headers, timeout=10
    )
    requests.put(url, data=f'{{"status": {marks["broken"]}', headers=headers, timeout=30)
    requests.put(url, json={marks["body"]: 1}, headers=headers, timeout=30)
    requests.delete(url, params={"reason": f"token={marks['query']}"}, headers=headers, timeout=30)
    logged = service.logs()
    assert job["id"] in logged
    assert [name for name, mark in marks.items() if mark in logged] == []


def test_without_keys_inherited_socket_must_be_loopback(database_url: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as handed_over:  # as systemd does it
        found = subprocess.run(
            ["bash", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" -m gunicorn wsgi:app 3<&"$1"',
             sys.executable, str(handed_over.fileno())],
            cwd=ROOT, env=environment(DATABASE_URL=database_url), pass_fds=[handed_over.fileno()],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert found.returncode != 0
    complaint = (
        "0.0.0.0 is not a loopback address, and with SCRAPE_JOBS_AUTH=off no other is allowed"
    )
    assert complaint in found.stderr.splitlines()


def test_unauthenticated_stalled_requests_block_no_worker(database_url: str) -> None:
    with (
        Service(database_url, SCRAPE_JOBS_AUTH="keys", WEB_CONCURRENCY="1", THREADS="2") as locked,
        ExitStack() as stack,
    ):
        callers = []
        for call in (
            "POST /api/scrape-jobs",
            "POST /nowhere",
            "OPTIONS /api/scrape-jobs",
            "PUT /api/scrape-jobs/x",
        ):
            callers.append(
                stack.enter_context(
                    socket.create_connection(("127.0.0.1", locked.port), timeout=15)
                )
            )
            callers[-1].sendall(
                f"{call} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode()
            )
        assert [caller.recv(12) for caller in callers] == [
            b"HTTP/1.1 401",
            b"HTTP/1.1 404",
            b"HTTP/1.1 200",
            b"HTTP/1.1 401",
        ]
        assert requests.get(f"{locked.url}/healthz", timeout=15).status_code == 200


def hang_up_after(service: Service, request: bytes) -> tuple[int, dict[str, Any]]:
    """Send `request`, close the sending direction, and return status and document."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        response = HTTPResponse(connection)
        response.begin()
        return response.status, json.loads(response.read())


CHUNKED = (
    b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize("rest", [b"5\r\nab", b"5", b"ffffffffffffffffffff\r\n{}", b"zz\r\n", b""])
def test_incomplete_body_is_a_client_error(service: Service, rest: bytes) -> None:
    request_id = f"r-{uuid.uuid4()}"
    head = CHUNKED.replace(b"Host: x", b"Host: x\r\nX-Request-ID: " + request_id.encode())
    assert hang_up_after(service, b"POST /api/scrape-jobs" + head + rest)[0] == 400
    full = b"100000\r\n" + b" " * MIB + b"\r\n"
    assert hang_up_after(service, b"POST /api/scrape-jobs" + CHUNKED + full + rest)[0] in (400, 413)
    assert hang_up_after(service, b"POST /nowhere" + CHUNKED + rest)[0] == 404
    assert hang_up_after(service, b"GET /healthz" + CHUNKED + rest)[0] == 200
    (line,) = lines_about(service, request_id)
    assert (line["message"], line["status"]) == ("request", 400)


def test_change_succeeds_despite_incomplete_unread_body(service: Service) -> None:
    job = service.create()
    status, answer = hang_up_after(
        service, f"DELETE /api/scrape-jobs/{job['id']}".encode() + CHUNKED + b"5\r\nab"
    )
    assert (status, answer["data"]["status"]) == (200, "cancelled")


def test_incomplete_request_changes_nothing(service: Service) -> None:
    job = service.create()
    for status in ("running", "failed"):
        service.change(job["id"], status=status)
    for body, said in ((b"", 23), (b'{"delay_seconds": 3600}', 24)):
        head = (
            b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % said
        )
        assert (
            hang_up_after(
                service, f"POST /api/scrape-jobs/{job['id']}/retry".encode() + head + body
            )[0]
            == 400
        )
    assert (
        requests.get(f"{service.jobs}/{job['id']}", timeout=30).json()["data"]["status"] == "failed"
    )


def test_stalled_body_is_rejected(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.body.STALL_SECONDS", 0.2)
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb", buffering=0) as body:
        theirs.sendall(b'{"domain": ')
        environ = {
            "wsgi.input": body,
            "wsgi.input_terminated": True,
            "gunicorn.socket": ours,
            "CONTENT_LENGTH": "100",
        }
        answer = app.test_client().post(
            "/api/scrape-jobs", content_type="application/json", environ_overrides=environ
        )
    assert (answer.status_code, answer.get_json()["error"]) == (400, "Bad request")
