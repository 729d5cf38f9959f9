"""A proxy between the service and PostgreSQL that records each round trip."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from sqlalchemy.engine import URL

ENCRYPTION_REQUESTS = (80877103, 80877104)
ROUND_TRIP_MESSAGES = (b"Q", b"S")
"""The messages that the server answers at once: a simple query, and the end of an extended query.

Source: PostgreSQL manual, "Message Formats" (Query, Sync).
"""


class MessageReader:
    """Parses the messages that a PostgreSQL client sends."""

    def __init__(self) -> None:
        self._bytes = b""
        self._starting = True

    def messages(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return the messages that `data` completes, as kind and content.

        The messages that open the connection are left out.
        """
        self._bytes += data
        while len(self._bytes) >= (head := 4 if self._starting else 5):
            size = head - 4 + int.from_bytes(self._bytes[head - 4 : head])
            if len(self._bytes) < size:
                return
            message, self._bytes = self._bytes[:size], self._bytes[size:]
            if not self._starting:
                yield message[:1], message[5:]
            elif int.from_bytes(message[4:8]) not in ENCRYPTION_REQUESTS:
                self._starting = False


class CountingProxy:
    """Forwards a client's connections to PostgreSQL, and records each round trip in order."""

    def __init__(self, server: URL) -> None:
        self.round_trips: list[str] = []
        host = server.query.get("host", server.host or "127.0.0.1")
        assert isinstance(host, str)
        port = server.port or 5432
        self._server: str | tuple[str, int] = (
            f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        query = {"sslmode": "disable", "gssencmode": "disable"}
        own_port = self._listener.getsockname()[1]
        self.url = server.set(host="127.0.0.1", port=own_port, query=query).render_as_string(
            hide_password=False
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(
                    socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET
                )
                server.connect(self._server)
                self._sockets += [client, server]
                reader = MessageReader()

                def note(data: bytes, reader: MessageReader = reader) -> None:
                    for kind, content in reader.messages(data):
                        if kind in ROUND_TRIP_MESSAGES:
                            self.round_trips.append(content.rstrip(b"\0").decode())

                threading.Thread(target=_forward, args=(client, server, note), daemon=True).start()
                threading.Thread(
                    target=_forward, args=(server, client, lambda _: None), daemon=True
                ).start()


def _forward(source: socket.socket, target: socket.socket, note: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            note(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
