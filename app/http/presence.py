"""Whether it is worth while to let a request wait on: somebody has to be there for the answer, and we to give it."""

import select
import socket
import threading

from flask import request

leaving = threading.Event()
"""Set when this process has been told to end: what waits should be answered now."""


def caller_is_gone() -> bool:
    """Tell whether the current request's caller has closed its connection."""
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
