"""Clients that send any request and keep all answers."""

import io
import json
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from support.hostile_texts import faults

JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"


NO_ID = "0190f3a0-0000-7000-8000-000000000000"


ORIGIN = "https://app.example.com"


MERGE = "application/merge-patch+json"


CONCURRENT_CLIENTS = 4


@dataclass
class RecordedAnswer:
    entry: str
    status: int
    texts: list[str]

    @property
    def data(self) -> Any:
        return json.loads(self.texts[-1])["data"]


class Client:
    """Calls the service and keeps all answers."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.answers: list[RecordedAnswer] = []

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str | bytes] | None = None,
        entry: str = "",
    ) -> RecordedAnswer:
        """Send a request and return the answer; a body that is not bytes is sent as JSON."""
        content = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        given: dict[str, str | bytes] = {
            "Host": "here",
            "Authorization": f"Bearer {self.key}",
            **(headers or {}),
        }
        if body is not None:
            given = {
                "Content-Type": "application/json",
                **given,
                "Content-Length": str(len(content)),
            }
        lines = {
            name: value.encode() if isinstance(value, str) else value
            for name, value in given.items()
        }
        found = self.exchange(
            entry or f"{method} {path.partition('?')[0]}", method, path, lines, content
        )
        self.answers.append(found)
        return found

    def exchange(
        self, entry: str, method: str, path: str, headers: Mapping[str, bytes], content: bytes
    ) -> RecordedAnswer:
        raise NotImplementedError


class InProcessClient(Client):
    """Calls the application in this process by WSGI, fast enough for thousands of calls."""

    def __init__(self, app: Flask, key: str) -> None:
        super().__init__(key)
        self.app = app

    def exchange(
        self, entry: str, method: str, path: str, headers: Mapping[str, bytes], content: bytes
    ) -> RecordedAnswer:
        route, _, asked = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(route).decode("latin-1"),
            "QUERY_STRING": asked,
            "SERVER_NAME": "here",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(content),
            "wsgi.errors": sys.stderr,
        }
        for name, value in headers.items():
            name = name.upper().replace("-", "_")
            environ[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"] = (
                value.decode("latin-1")
            )
        status = 0
        texts: list[str] = []

        def start(
            line: str, fields: list[tuple[str, str]], _error: object = None
        ) -> Callable[[bytes], object]:
            nonlocal status
            status = int(line[:3])
            texts.extend(text for pair in fields for text in pair)
            return lambda _: None

        body = self.app(environ, start)
        texts.append(b"".join(body).decode())
        if hasattr(body, "close"):  # PEP 3333: an iterable may have one
            body.close()
        return RecordedAnswer(entry, status, texts)


class HttpClient(Client):
    """Calls a service over HTTP, on one connection that is kept open."""

    def __init__(self, port: int, key: str) -> None:
        super().__init__(key)
        self.port = port
        self.connection: socket.socket | None = None

    def exchange(
        self, entry: str, method: str, path: str, headers: Mapping[str, bytes], content: bytes
    ) -> RecordedAnswer:
        lines = [
            f"{method} {path} HTTP/1.1".encode(),
            *(name.encode() + b": " + value for name, value in headers.items()),
        ]
        self.connection = self.connection or socket.create_connection(
            ("127.0.0.1", self.port), timeout=60
        )
        self.connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + content)
        return self._receive(entry, self.connection)

    def send(self, entry: str, request: bytes) -> None:
        """Send exactly these bytes over a separate connection, and keep the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            self.answers.append(self._receive(entry, connection))

    def _receive(self, entry: str, connection: socket.socket) -> RecordedAnswer:
        received_bytes = b""
        while b"\r\n\r\n" not in received_bytes:
            received = connection.recv(65536)
            assert received, (entry, received_bytes)
            received_bytes += received
        head, _, body = received_bytes.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        lengths = [line for line in lines if line.lower().startswith("content-length:")]
        while lengths and len(body) < int(lengths[0].split(":")[1]):
            body += connection.recv(65536)
        if connection is self.connection and "Connection: close" in lines:
            connection.close()
            self.connection = None
        return RecordedAnswer(entry, int(lines[0].split()[1]), [*lines, body.decode()])

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


@contextmanager
def app_with_keys(url: str) -> Iterator[tuple[Flask, str]]:
    """Yield an application with authentication by keys, and a key for it."""
    app = create_app(
        Settings(database_url=url, rate_limit=False, trusted_proxies=1, cors_origins=(ORIGIN,))
    )
    with app.app_context():
        key, _ = keys.create("a test's key", [Scope.ALL], None, None)
    yield app, str(key)
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def faults_of_answers(client: Client) -> list[str]:
    """Return the faults of the answers; a server error is a fault as well."""
    found = [
        f"{one.entry}: {one.status}"
        for one in client.answers
        if one.status >= 500 and one.entry != "coding"
    ]
    answered = {(f"answer to {one.entry}", text) for one in client.answers for text in one.texts}
    return found + [fault for entry, text in sorted(answered) for fault in faults(entry, text)]
