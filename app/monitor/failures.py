"""Failures of pages: they are answered with a page, and a missing session leads to sign-in."""

import json

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.exceptions import HTTPException

from app.errors import NotAuthenticated, ScrapeJobError
from app.http import errors
from app.monitor.pages import html


def answer_with_pages(blueprint: Blueprint) -> None:
    """Make the endpoints of `blueprint` answer every exception with a page."""
    blueprint.register_error_handler(NotAuthenticated, _ask_to_sign_in)
    blueprint.register_error_handler(
        ScrapeJobError, lambda error: _error_page(errors.error_response(error))
    )
    blueprint.register_error_handler(
        HTTPException, lambda error: _error_page(errors.http_error_response(error))
    )
    blueprint.register_error_handler(
        Exception, lambda error: _error_page(errors.unexpected_error_response(error))
    )


def see_other(path: str) -> Response:
    """Return the answer that leads the browser to a page of this site."""
    response = redirect(path, 303, Response)
    assert isinstance(response, Response)
    response.set_data(b"")  # the default body is a page without our headers
    return response


def _ask_to_sign_in(_refusal: NotAuthenticated) -> Response:
    return see_other(url_for("sign_in.show", next=request.full_path.rstrip("?")))


def _error_page(answer: Response) -> Response:
    """Return a page with the texts of the API's answer to a failure."""
    failure = json.loads(answer.get_data(as_text=True))
    return html(
        "error.html", answer.status_code, error=failure["error"], details=failure.get("details")
    )
