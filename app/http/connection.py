"""The connection of the current request."""

import select
import socket

from flask import request


def client_disconnected() -> bool:
    """Return whether the client of the current request has closed its connection.

    Granian does not show that to a WSGI application: under it the answer is always no.
    """
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
