"""Flask without what the service does not use; each part would take time in every request."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter


class NoSessions(SessionInterface):
    """The service keeps no sessions: all requests have the same, empty one."""

    _empty = NullSession()

    def open_session(self, _app: Flask, _request: Request) -> NullSession:
        """Return the empty session, which Flask never saves."""
        return self._empty


class ServiceFlask(Flask):
    """The application class of the service."""

    session_interface = NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return `func`: no view and no hook is a coroutine."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the adapter that finds the route of a request by its path.

        No route depends on the host or on a protocol upgrade, which Flask's own adapter examines.
        """
        if request is None:
            return super().create_url_adapter(None)
        path = request.environ["PATH_INFO"].encode("latin-1").decode(errors="replace")  # PEP 3333
        return MapAdapter(self.url_map, "", "/", "", "http", path, request.method)
