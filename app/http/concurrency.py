"""The number of requests that a process works on at a time.

A server has more threads than that, because an event stream occupies a thread for minutes. The
place is free again when the response begins, so a stream takes no place from other requests.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

Application: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application (PEP 3333)."""


class LimitedConcurrency:
    """A WSGI application that calls another one from at most `places` threads at a time.

    Further threads wait for a place.
    """

    def __init__(self, application: Application, places: int) -> None:
        self._application = application
        self._places = threading.Semaphore(places)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Return the body of the response, which is sent without a place."""
        with self._places:
            return self._application(environ, start_response)
