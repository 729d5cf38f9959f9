"""The connection of the current request."""

import select
import socket
from contextlib import suppress

from flask import request

_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT


class ClientConnection:
    """The connection of a client. It can be used when the request has ended.

    Only gunicorn gives applications the socket. Without it the connection counts as open.
    """

    def __init__(self, connection: object) -> None:
        self._socket = connection if isinstance(connection, socket.socket) else None

    def is_closed(self) -> bool:
        """Return whether the client has closed the connection."""
        if self._socket is None:
            return False
        try:
            poll = select.poll()
            poll.register(self._socket.fileno(), select.POLLIN)
            return bool(poll.poll(0)) and self._socket.recv(1, _PEEK) == b""
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True

    def abort(self) -> None:
        """End the connection, so that a thread that is sending on it stops waiting."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def client_connection() -> ClientConnection:
    """Return the connection of the current request."""
    return ClientConnection(request.environ.get("gunicorn.socket"))


def client_disconnected() -> bool:
    """Return whether the client of the current request has closed its connection."""
    return client_connection().is_closed()
