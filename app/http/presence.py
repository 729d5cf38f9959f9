"""Whether it is worth while to let a request wait on: somebody has to be there for the answer, and we to give it."""

import select
import socket

from flask import request

_leaving: list[bool] = []


def leave() -> None:
    """Let nobody wait any more: this process has been told to end.

    Signal handlers call it, one of which may interrupt another: it takes no lock.
    """
    _leaving.append(True)


def is_leaving() -> bool:
    """Tell whether this process has been told to end, so that what waits should be answered now."""
    return bool(_leaving)


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
