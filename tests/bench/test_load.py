"""The generator of HTTP loads: what it sends, what it measures, and which responses it refuses."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from bench.load import Load, LoadResult, http_request, run_load

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class ScriptedServer:
    """A server that answers each request with the same pieces of bytes, with pauses in between."""

    def __init__(self, pieces: Sequence[bytes], pause: float = 0) -> None:
        self.requests: list[bytes] = []
        self._pieces = pieces
        self._pause = pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while request := connection.recv(65536):
                self.requests.append(request)
                for piece in self._pieces:
                    connection.sendall(piece)
                    time.sleep(self._pause)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def serving(*pieces: bytes, pause: float = 0) -> Iterator[ScriptedServer]:
    server = ScriptedServer(pieces, pause)
    try:
        yield server
    finally:
        server.close()


def load_of(status: int = 200, limit: int | None = 10) -> Load:
    return Load("GET", status, lambda number: http_request("GET", f"/{number}"), limit)


def test_request_has_its_headers_and_body() -> None:
    assert http_request("PUT", "/job", 'If-Match: "1"', body={"a": 1}) == (
        b'PUT /job HTTP/1.1\r\nHost: localhost\r\nIf-Match: "1"\r\n'
        b'Content-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'
    )


def test_load_ends_at_its_limit() -> None:
    with serving(OK) as server:
        result = run_load(server.port, load_of(limit=10), seconds=60, connections=4)
    assert len(result.latencies) == len(server.requests) == 10


@pytest.mark.timed
def test_load_ends_after_its_time() -> None:
    with serving(OK) as server:
        result = run_load(server.port, load_of(limit=None), seconds=0.2, connections=2)
    assert 0.2 <= result.seconds < 5
    assert len(result.latencies) == len(server.requests) > 2


def test_each_connection_sends_its_own_requests() -> None:
    with serving(OK) as server:
        run_load(server.port, load_of(limit=3), seconds=60, connections=3)
    paths = {request.split()[1] for request in server.requests}
    assert paths == {b"/0", b"/1", b"/2"}


def test_latency_ends_with_the_whole_response() -> None:
    with serving(OK[:20], OK[20:-1], OK[-1:], pause=0.05) as server:
        result: LoadResult = run_load(server.port, load_of(limit=1), seconds=60, connections=1)
    assert result.latencies[0] >= 0.1


def test_not_modified_response_has_no_body() -> None:
    with serving(b"HTTP/1.1 304 Not Modified\r\n\r\n") as server:
        result = run_load(server.port, load_of(304, limit=2), seconds=60, connections=1)
    assert len(result.latencies) == 2


def test_wrong_status_ends_the_load() -> None:
    with serving(OK) as server, pytest.raises(SystemExit, match="has status 200 instead of 201"):
        run_load(server.port, load_of(201), seconds=60)


def test_closed_connection_ends_the_load() -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def close_at_once() -> None:
        connection, _ = server.accept()
        connection.recv(65536)
        connection.close()

    thread = threading.Thread(target=close_at_once)
    thread.start()
    with pytest.raises(SystemExit, match="closed a connection"):
        run_load(server.getsockname()[1], load_of(limit=1), seconds=60, connections=1)
    thread.join()
    server.close()
