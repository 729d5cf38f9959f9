"""Sends hostile requests, and checks that they are refused without an effect."""

import json
import socket
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.factories import make_job, new_domain
from support.service import Service

JOBS = "/api/scrape-jobs"


MIB = 1024 * 1024


NOT_JSON = "Invalid body: must be a JSON document"


NOT_AN_OBJECT = "Invalid body: must be a JSON object"


MEDIA_TYPES = {
    "POST": "application/json",
    "PUT": "application/json",
    "PATCH": "application/merge-patch+json",
}


every_method = pytest.mark.parametrize("method", MEDIA_TYPES)


class HostileTarget:
    """The resource that hostile bodies are sent to; it shows whether they had an effect."""

    def __init__(self, client: FlaskClient, method: str) -> None:
        self.client = client
        self.method = method
        self.domain = new_domain()
        self.url = (
            JOBS if method == "POST" else f"{JOBS}/{make_job(client, domain=self.domain)['id']}"
        )
        self.before = self._state()

    def send(self, body: bytes, content_type: str | None = None, **headers: str) -> TestResponse:
        kind = MEDIA_TYPES[self.method] if content_type is None else content_type
        return self.client.open(
            self.url, method=self.method, data=body, content_type=kind, headers=headers
        )

    def send_as_metadata(self, fragment: bytes) -> TestResponse:
        return self.send(self.document(b'"metadata": ' + fragment))

    def document(self, members: bytes) -> bytes:
        """Return a complete body for the method that contains `members`."""
        domain = b'"domain": "' + self.domain.encode() + b'", ' if self.method == "POST" else b""
        return b"{" + domain + members + b"}"

    def is_unchanged(self) -> bool:
        return self._state() == self.before

    def _state(self) -> tuple[Any, ...]:
        jobs = self.client.get(JOBS, query_string={"domain": self.domain}).get_json()["data"]
        histories = [
            self.client.get(f"{JOBS}/{job['id']}/history").get_json()["data"] for job in jobs
        ]
        return jobs, histories


def assert_refused(answer: TestResponse, status: int, error: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.get_json()
    assert {"success", "error"} <= body.keys() <= {"success", "error", "details"}
    assert (body["success"], body["error"]) == (False, error)
    assert all(type(body[name]) is str and body[name] for name in body.keys() - {"success"})


def send_raw(
    service: Service, line: bytes, *headers: bytes, body: bytes = b"", own_length: bool = True
) -> tuple[int, dict[str, Any]]:
    """Send exactly these bytes and return the answer's status and JSON; fail if it is not JSON."""
    names = {header.partition(b":")[0].lower() for header in headers}
    lines = [line, *headers, b"Connection: close"]
    if b"host" not in names:
        lines.append(b"Host: 127.0.0.1")
    if body and b"content-type" not in names:
        lines.append(b"Content-Type: application/json")
    if body and own_length:
        lines.append(b"Content-Length: %d" % len(body))
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"<html" not in content.lower()
    assert b"traceback" not in content.lower()
    parsed: dict[str, Any] = json.loads(content) if content else {}
    return int(head.split()[1]), parsed
