"""A TCP proxy in front of the service that cuts connections off before the answer arrives."""

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class CuttingProxy:
    """Forwards requests, and drops the answers for which `cuts` returns True; a context manager.

    The service has received such a request and carries it out: only its answer is lost. Event
    streams are passed on until `cut_streams`. While `is_open` is False, no request reaches the
    service.
    """

    def __init__(self, port: int, cuts: Callable[[bytes], bool]) -> None:
        """Forward to `port` of this machine; `cuts` gets the first bytes of each request."""
        self.target = port
        self._cuts = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.cut: Counter[str] = Counter()
        self._streams: set[tuple[socket.socket, socket.socket]] = set()
        self.is_open = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def streams(self) -> int:
        """The number of open event streams."""
        return len(self._streams)

    def cut_streams(self) -> None:
        """Cut the event streams that are open."""
        for connections in list(self._streams):
            self._streams.discard(connections)
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as up:
            while (request := _read_message(client)) and self.is_open:
                up.sendall(request)
                answer = _read_message(up)
                if not answer:  # the service has stopped
                    return
                if self._cuts(request):
                    self.cut[request.split(b" ", 1)[0].decode()] += 1
                    return
                client.sendall(answer)
                if b"\r\nContent-Type: text/event-stream" in answer:
                    self._pass_on(up, client)
                    return

    def _pass_on(self, up: socket.socket, client: socket.socket) -> None:
        self._streams.add((up, client))
        try:
            while part := up.recv(65536):
                client.sendall(part)
        finally:
            self._streams.discard((up, client))


def _read_message(connection: socket.socket) -> bytes:
    """Return one whole request or answer, or nothing at the end of the connection."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + _length(data[:end]):
        part = connection.recv(1024 * 1024)
        if not part:
            return b""
        data += part
    return data


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    return int(found[1]) if found else 0
