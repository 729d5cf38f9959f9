"""Whether a request should wait on: its caller has to be there for the answer, and this process to
give it."""

import mmap
import select
import socket

from flask import request

_leaving: list[bool] = []
_stopping = mmap.mmap(-1, 1)
"""Shared by the server's processes, which inherit it: 1 when the server has been told to stop."""


def announce_stop() -> None:
    """Make `is_stopping` true in all processes of this server."""
    _stopping[0] = 1


def is_stopping() -> bool:
    """Return whether the whole server stops; at a reload a process may end while the server goes
    on."""
    return _stopping[0] == 1


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
