"""The number of requests that a process works on at a time.

A server has more threads than that, because an event stream occupies a thread for minutes. The
place is free again when the response begins, so a stream takes no place from other requests.
"""

from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, TypeAlias

Application: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application (PEP 3333)."""


class LimitedConcurrency:
    """A WSGI application that calls another one from at most `places` threads at a time.

    Further threads wait for a place.
    """

    def __init__(self, application: Application, places: int) -> None:
        self._application = application
        self._places: SimpleQueue[None] = SimpleQueue()  # a semaphore in C
        for _ in range(places):
            self._places.put(None)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Return the body of the response, which is sent without a place."""
        self._places.get()
        try:
            return self._application(environ, start_response)
        finally:
            self._places.put(None)
