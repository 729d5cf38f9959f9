"""An HTTP load in a closed loop: a connection sends its next request once it has its response.

The generator is part of the benchmark, so that nothing else must be installed. It is one thread
that writes prepared bytes to sockets and looks only at the status and the length of a response.
"""

import json
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

CONNECTIONS = 8
RESPONSE_SECONDS = 30
"""How long the generator waits for any response before it gives up."""

_BODILESS = (204, 304)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one kind.

    Attributes:
        name: The name in the results.
        status: The status that every response must have.
        next_request: Returns the bytes of the next request of a connection, by its number.
        limit: The maximum number of requests; None for no limit.
    """

    name: str
    status: int
    next_request: Callable[[int], bytes]
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The result of a load.

    Attributes:
        seconds: The time from the first request to the last response.
        latencies: The seconds from each request to its response.
        generator_cpu: The CPU seconds of the generator.
    """

    seconds: float
    latencies: list[float]
    generator_cpu: float


def http_request(method: str, path: str, *headers: str, body: object = None) -> bytes:
    """Return the bytes of a request with more headers, such as `Accept: */*`, and a JSON body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    content = b"" if body is None else json.dumps(body).encode()
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


class _Connection:
    """A keep-alive connection with at most one request under way."""

    def __init__(self, port: int, number: int) -> None:
        self.number = number
        self.socket = socket.create_connection(("127.0.0.1", port), RESPONSE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._sent_at = 0.0

    def send(self, request: bytes) -> None:
        """Send the next request."""
        self._received = b""
        self._sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self, status: int) -> float | None:
        """Read from the socket; return the latency in seconds if the response is complete.

        Raises:
            SystemExit: The response has another status, or the connection is closed.
        """
        data = self.socket.recv(262_144)
        if not data:
            raise SystemExit("the server closed a connection")
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        found = int(head[9:12])
        if found not in _BODILESS and len(body) < _content_length(head):
            return None
        if found != status:
            raise SystemExit(f"a response has status {found} instead of {status}: {body!r}")
        return time.perf_counter() - self._sent_at


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    if not found:
        raise SystemExit(f"a response has no length: {head!r}")
    return int(rest.partition(b"\r\n")[0])


def run_load(port: int, load: Load, seconds: float, connections: int = CONNECTIONS) -> LoadResult:
    """Send the load to a server on this machine, and return its latencies.

    Args:
        port: The server's port.
        load: The requests.
        seconds: After this time no further request is sent.
        connections: How many connections send requests at the same time.

    Raises:
        SystemExit: A response is wrong or does not come.
    """
    opened = [_Connection(port, number) for number in range(connections)]
    try:
        return _drive(opened, load, seconds)
    finally:
        for connection in opened:
            connection.socket.close()


def _drive(connections: list[_Connection], load: Load, seconds: float) -> LoadResult:
    limit = float("inf") if load.limit is None else load.limit
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    sent, cpu, started = 0, time.process_time(), time.perf_counter()
    for connection in connections:
        if sent < limit:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(load.next_request(connection.number))
            sent += 1
    while len(latencies) < sent:
        ready = selector.select(RESPONSE_SECONDS)
        if not ready:
            raise SystemExit(f"no response to {load.name} within {RESPONSE_SECONDS} s")
        for key, _ in ready:
            connection = key.data
            latency = connection.receive(load.status)
            if latency is None:
                continue
            latencies.append(latency)
            if sent < limit and time.perf_counter() - started < seconds:
                connection.send(load.next_request(connection.number))
                sent += 1
    ended = time.perf_counter()
    selector.close()
    return LoadResult(ended - started, latencies, time.process_time() - cpu)
