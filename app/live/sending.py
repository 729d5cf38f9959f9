"""The body of an event stream, which a thread of the server sends while it is made."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.errors import DatabaseFailure, NotAuthenticated
from app.live.changes import HEARTBEAT
from app.live.streams import Stream

HEARTBEAT_SECONDS = 15.0
MAX_SECONDS = 15 * 60.0
"""A stream ends after this time. Its client opens it again, maybe in another process."""

CHECK_SECONDS = 0.8
"""Time between two checks whether the stream has to end; less than a second, for a stop."""


@dataclass(frozen=True, slots=True)
class StreamClient:
    """The client of a stream, as functions of the HTTP layer.

    Attributes:
        check_key: Raises NotAuthenticated if the client's API key is no longer valid.
        is_disconnected: Returns whether the client has closed its connection.
    """

    check_key: Callable[[], object]
    is_disconnected: Callable[[], bool]


def send(
    opening: bytes, stream: Stream, client: StreamClient, is_stopping: Callable[[], bool]
) -> Iterator[bytes]:
    """Yield the bytes of a stream until it ends.

    It ends when the client has gone, is too slow or has lost its key, after MAX_SECONDS, and when
    the process is about to stop. Some parts are empty. Servers send nothing for them (PEP 3333),
    but one that does not show a lost connection by other means closes the stream then.
    """
    yield opening
    end = time.monotonic() + MAX_SECONDS
    next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
    while not (is_stopping() or client.is_disconnected() or time.monotonic() >= end):
        data = stream.take(CHECK_SECONDS)
        if time.monotonic() >= next_heartbeat:
            next_heartbeat += HEARTBEAT_SECONDS
            if not _has_valid_key(client):
                return
            data += stream.here(HEARTBEAT)
        stream.starts_sending()
        yield data
        stream.has_sent()
        if stream.is_too_slow:
            return


def _has_valid_key(client: StreamClient) -> bool:
    """Return whether the client's key is valid; while the database fails, it counts as valid.

    Without the database the stream sends nothing but heartbeats.
    """
    try:
        client.check_key()
    except NotAuthenticated:
        return False
    except DatabaseFailure:
        return True
    return True
