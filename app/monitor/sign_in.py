"""The pages that start and end a session."""

from collections.abc import Callable

from flask import Blueprint, Response, request, url_for

from app.api_keys.service import Caller
from app.errors import NotAuthenticated
from app.http.operation import operation
from app.monitor.failures import answer_with_pages, see_other
from app.monitor.pages import SIGNED_OUT, html
from app.monitor.same_origin import is_same_origin
from app.monitor.sessions import Sessions

FindCaller = Callable[[str], Caller]
"""Returns the caller that an API key belongs to, or raises NotAuthenticated."""

FIRST_PAGE = "/"


def make_blueprint(sessions: Sessions, find_caller: FindCaller | None) -> Blueprint:
    """Return the endpoints that start and end a session.

    Args:
        sessions: The sessions.
        find_caller: Finds the caller of a key. None turns keys, and so sign-in, off.
    """
    blueprint = Blueprint("sign_in", __name__)
    answer_with_pages(blueprint)

    def form(error: str | None = None, status: int = 200) -> Response:
        return html(
            "sign_in.html",
            status,
            can_sign_in=sessions.can_start,
            error=error,
            next=local_path(request.values.get("next", FIRST_PAGE)),
            **({"viewer": SIGNED_OUT} if find_caller else {}),
        )

    @blueprint.get("/sign-in")
    @operation("Failed to show the sign-in page", is_open=True)
    def show() -> Response:
        """Ask for an API key."""
        return form()

    @blueprint.post("/sign-in")
    @operation("Failed to sign in", is_open=True)
    def start() -> Response:
        """Start a session for the key in the form."""
        if find_caller is None or not sessions.can_start:
            return form()
        if not is_same_origin():
            return form("The form came from another site", 403)
        try:
            caller = find_caller(request.form.get("key", "").strip())
        except NotAuthenticated as refusal:
            return form(refusal.reason, 401)
        response = see_other(local_path(request.form.get("next", FIRST_PAGE)))
        sessions.start(response, str(caller.actor.id))
        return response

    @blueprint.post("/sign-out")
    @operation("Failed to sign out", is_open=True)
    def end() -> Response:
        """End the session."""
        response = see_other(url_for(".show"))
        if is_same_origin():
            sessions.end(response)
        return response

    return blueprint


def local_path(text: str) -> str:
    """Return `text` if it is a path of this site, otherwise the path of the first page.

    Browsers read ``//host`` and ``/\\host`` as other sites, and skip control characters.
    """
    is_local = text.startswith("/") and text.isprintable() and text[1:2] not in ("/", "\\")
    return text if is_local else FIRST_PAGE
