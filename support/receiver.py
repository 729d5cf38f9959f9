"""A receiver of webhooks on loopback; the path of a request selects the response."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    connection: int = 0
    """The client's port, which is the same for all requests of one connection."""

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """Serves on its own port; a context manager.

    Paths:
        /ok: 204; so does every other path.
        /status/N: N.
        /hang: No response.
        /drip: 200 with one byte of the body per second.
        /slow-headers: One byte of a header per second.
        /redirect/URL: 307 to the URL.
        /large: 10 MiB; `written` counts the bytes that the sender accepted.
        /cut: The response ends before the announced length.
        /answer: The result of `answer`, called with the number of requests so far.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.arrived = threading.Condition()
        self.written = 0
        self.answer: Callable[[int], tuple[int, dict[str, str], bytes]] = lambda _: (204, {}, b"")
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # the sender has closed the connection
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver.arrived:
                    receiver.received.append(
                        Received(self.path, headers, body, time.time(), self.client_address[1])
                    )
                    count = len(receiver.received)
                    receiver.arrived.notify_all()
                receiver._respond(self, count)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_: Any) -> None:
                """Print no error when a sender has closed its connection."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def at(self, path: str) -> list[Received]:
        """Return the requests to `path`, in the order of arrival."""
        with self.arrived:
            return [one for one in self.received if one.path == path]

    def wait_for(self, path: str, count: int, seconds: float = 30) -> list[Received]:
        """Wait until there were `count` requests to `path`, and return all of them."""
        with self.arrived:
            self.arrived.wait_for(
                lambda: sum(one.path == path for one in self.received) >= count, seconds
            )
        found = self.at(path)
        assert len(found) >= count, f"{len(found)} of {count} arrived at {path} within {seconds} s"
        return found

    def _respond(self, handler: BaseHTTPRequestHandler, count: int) -> None:
        first, _, rest = handler.path.strip("/").partition("/")
        match first:
            case "status":
                self._send(handler, int(rest), {}, b"no")
            case "hang":
                self._closing.wait(60)
                handler.close_connection = True
            case "drip":
                handler.send_response(200)
                handler.send_header("Content-Length", "1000")
                handler.end_headers()
                self._drip(handler, b"x" * 1000)
            case "slow-headers":
                self._drip(handler, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000)
            case "redirect":
                self._send(handler, 307, {"Location": rest}, b"")
            case "large":
                self._send_large(handler)
            case "cut":
                handler.close_connection = True
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
            case "answer":
                self._send(handler, *self.answer(count))
            case _:
                self._send(handler, 204, {}, b"")

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        try:
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True

    def _send_large(self, handler: BaseHTTPRequestHandler) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        handler.send_response(200)
        handler.send_header("Content-Length", str(10 * 1024 * 1024))
        handler.end_headers()
        handler.close_connection = True
        try:
            while self.written < 10 * 1024 * 1024:
                self.written += handler.connection.send(b"x" * 4096)
        except OSError:
            return

    def _drip(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.close_connection = True
        for byte in body:
            if self._closing.wait(1):
                return
            try:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
            except OSError:
                return


@contextmanager
def raw_receiver(response: bytes, address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Answer one request with raw bytes; the value is the port."""
    with socket.create_server((address, port)) as server:

        def respond() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(response)

        thread = threading.Thread(target=respond, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(5)
