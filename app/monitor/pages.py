"""Answers with HTML: a page with the API's first answers in it, and the page of an error."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, render_template
from jinja2.utils import htmlsafe_json_dumps

from app.api_keys.scopes import Scope, allows
from app.errors import ScrapeJobError
from app.http.context import current_context
from app.http.errors import error_response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The files that a browser may load and run for a page: this site's own, and nothing inline."""

SIGNED_OUT: Mapping[str, Any] = {"key": None, "customer": None, "scopes": []}
"""The viewer of a page that asks to sign in."""

ApiCall = Callable[[], Response]
"""A call of the API within the process; it returns the answer, or raises ScrapeJobError."""


def page(template: str, answers: Mapping[str, ApiCall], **values: Any) -> Response:
    """Return a page with the first data in it.

    Args:
        template: The name of the template.
        answers: The calls of the API whose answers the page starts with, by the names that its
            scripts know. The status of the first one is the status of the page.
        values: Further values for the template.
    """
    responses = {name: _answer(call) for name, call in answers.items()}
    first = {name: answer.get_json() for name, answer in responses.items()}
    status = next((answer.status_code for answer in responses.values()), 200)
    return html(template, status, first=first, **values)


def html(template: str, status: int = 200, **values: Any) -> Response:
    """Return a rendered template with the headers of a page."""
    viewer = values.get("viewer", _viewer())
    # Jinja's own filter would sort the keys of documents.
    data = htmlsafe_json_dumps({"first": values.get("first", {}), "viewer": viewer}, json.dumps)
    text = render_template(f"monitor/{template}", **{**values, "viewer": viewer, "data": data})
    response = Response(text, status, mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY
    # Sec-Fetch-Site and Origin identify this site's pages; the address of a page is no secret.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _answer(call: ApiCall) -> Response:
    try:
        return call()
    except ScrapeJobError as error:
        return error_response(error)


def _viewer() -> dict[str, Any]:
    """Return the facts about the viewer that the page shows: key, customer and scopes."""
    caller = current_context().caller
    if caller is None:
        return dict(SIGNED_OUT)
    return {
        "key": caller.actor.name,
        "customer": str(caller.customer) if caller.customer else None,
        "scopes": [scope for scope in Scope if allows(caller.scopes, (scope,))],
    }
