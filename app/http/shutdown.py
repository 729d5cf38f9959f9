"""The state of a shutdown, of this worker process and of the whole server."""

import mmap

_worker_stops: list[bool] = []
_server_stops = mmap.mmap(-1, 1)
"""1 as soon as the server stops; its processes inherit this shared memory."""


def announce_server_stop() -> None:
    """Make `server_is_stopping` true in all processes of this server."""
    _server_stops[0] = 1


def server_is_stopping() -> bool:
    """Return whether the whole server stops; at a reload only its workers do."""
    return _server_stops[0] == 1


def begin_worker_shutdown() -> None:
    """Make requests that wait for work in this process end.

    Signal handlers call this, and one may interrupt another: it takes no lock.
    """
    _worker_stops.append(True)


def worker_is_stopping() -> bool:
    """Return whether this process is to end, so that waiting requests are to be answered now."""
    return bool(_worker_stops)
