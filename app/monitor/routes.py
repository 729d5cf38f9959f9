"""The pages of the monitor.

A page shows what the API answers to its viewer: the first answers come with the page, its scripts
call the public API for all others and for changes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, current_app, redirect, request, url_for
from werkzeug.exceptions import HTTPException

from app.api_keys.scopes import Scope
from app.api_keys.service import ApiKeyCache
from app.errors import NotAuthenticated, ScrapeJobError
from app.http import errors
from app.http.operation import operation
from app.jobs import routes as jobs
from app.jobs import schemas as job_schemas
from app.jobs.representation import FIELDS
from app.jobs.states import Status
from app.monitor.assets import Assets
from app.monitor.pages import NOBODY, error_page, html, page
from app.monitor.same_origin import is_same_origin
from app.monitor.sessions import Sessions
from app.statistics import routes as statistics
from app.statistics import schemas as statistics_schemas
from app.webhooks import routes as webhooks

NAME = "monitor"

blueprint = Blueprint(NAME, __name__, template_folder="templates")

LISTED_FIELDS = ",".join(field for field in FIELDS if field not in ("config", "metadata"))
"""The fields of a job that a list needs: the others may be large."""

QUEUE_PAGE = {"status": Status.PENDING.value, "sort": "priority", "limit": "25"}
"""The jobs of the queue that the page explains, in the order in which workers get them."""

WINDOWS: Mapping[str, tuple[str, timedelta | None]] = {
    "1h": ("1 hour", timedelta(hours=1)),
    "24h": ("24 hours", timedelta(hours=24)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
    "all": ("All time", None),
}
"""The windows of the statistics, by their names in addresses: label and length."""


@dataclass(frozen=True, slots=True)
class _Monitor:
    assets: Assets
    sessions: Sessions
    keys: ApiKeyCache | None


def register(app: Flask, sessions: Sessions, keys: ApiKeyCache | None) -> None:
    """Add the pages to `app`.

    Args:
        app: The application.
        sessions: The sessions of signed-in users.
        keys: Finds the key with which a user signs in. None turns keys, and so sign-in, off.
    """
    assets = Assets()
    app.extensions[NAME] = _Monitor(assets, sessions, keys)
    app.register_blueprint(blueprint)
    app.jinja_env.globals.update(static=assets.url, has_keys=keys is not None)


def _monitor() -> _Monitor:
    monitor: _Monitor = current_app.extensions[NAME]
    return monitor


@blueprint.get("/")
@operation("Failed to show the jobs", Scope.JOBS_READ)
def jobs_page() -> Response:
    """Show a list of jobs, with the filters of the API's list in the address."""
    asked = {name: value for name, value in request.args.items() if value}
    listed = {"fields": LISTED_FIELDS, **asked}
    counted = {
        name: value
        for name, value in asked.items()
        if name in ("domain", "job_type", "customer_config_id")
    }
    return page(
        "jobs.html",
        {
            "jobs": lambda: jobs.list_answer(job_schemas.LIST.parse(listed)),
            "counts": _statistics(counted),
        },
        asked=asked,
        statuses=list(Status),
        tab_url=_tab_url,
    )


def _tab_url(status: str | None) -> str:
    """Return the address of the list with the current filters, but with another status."""
    kept = {
        name: value
        for name, value in request.args.items()
        if value and name not in ("status", "cursor")
    }
    query = urlencode({**kept, **({"status": status} if status else {})})
    return url_for(".jobs_page") + (f"?{query}" if query else "")


def _statistics(asked: Mapping[str, Any]) -> Callable[[], Response]:
    return lambda: statistics.figures_answer(statistics_schemas.STATISTICS.parse(asked))


@blueprint.get("/jobs/<id>")
@operation("Failed to show the job", Scope.JOBS_READ, subject="job")
def job_page(id: str) -> Response:
    """Show one job with its history."""
    return page(
        "job.html",
        {"job": partial(jobs.get_job, id), "history": partial(jobs.job_history, id)},
        job_id=id,
    )


@blueprint.get("/queue")
@operation("Failed to show the queue", Scope.JOBS_READ)
def queue_page() -> Response:
    """Show the upcoming jobs, the workers and the domains at their limit."""
    asked = {**QUEUE_PAGE, "fields": LISTED_FIELDS}
    return page("queue.html", {"pending": lambda: jobs.list_answer(job_schemas.LIST.parse(asked))})


@blueprint.get("/webhooks")
@operation("Failed to show the webhooks", Scope.WEBHOOKS_MANAGE)
def webhooks_page() -> Response:
    """Show the webhook endpoints and their deliveries."""
    return page("webhooks.html", {"webhooks": webhooks.list_webhooks})


@blueprint.get("/statistics")
@operation("Failed to show the statistics", Scope.JOBS_READ)
def statistics_page() -> Response:
    """Show the figures of a window of time."""
    window = request.args.get("window", "24h")
    asked = {name: request.args[name] for name in ("domain", "job_type") if request.args.get(name)}
    _, length = WINDOWS.get(window, WINDOWS["24h"])
    since = {} if length is None else {"from": (datetime.now(UTC) - length).isoformat()}
    return page(
        "statistics.html",
        {"domains": _statistics({**asked, **since, "group_by": "domain"})},
        asked=asked,
        window=window if window in WINDOWS else "24h",
        windows={
            name: (label, int(length.total_seconds()) if length else None)
            for name, (label, length) in WINDOWS.items()
        },
    )


@blueprint.get("/sign-in")
@operation("Failed to show the sign-in page", is_open=True)
def sign_in_page() -> Response:
    """Ask for an API key."""
    return _sign_in_form()


def _sign_in_form(error: str | None = None, status: int = 200) -> Response:
    monitor = _monitor()
    return html(
        "sign_in.html",
        status,
        can_sign_in=monitor.sessions.can_start,
        error=error,
        **({"viewer": NOBODY} if monitor.keys else {}),
        next=_local_path(request.values.get("next", "/")),
    )


@blueprint.post("/sign-in")
@operation("Failed to sign in", is_open=True)
def sign_in() -> Response:
    """Start a session for the key in the form."""
    monitor = _monitor()
    if monitor.keys is None or not monitor.sessions.can_start:
        return _sign_in_form()
    if not is_same_origin():
        return _sign_in_form("The form came from another site", 403)
    try:
        caller = monitor.keys.caller(request.form.get("key", "").strip())
    except NotAuthenticated as refusal:
        return _sign_in_form(refusal.reason, 401)
    response = _see(_local_path(request.form.get("next", "/")))
    monitor.sessions.start(response, str(caller.actor.id))
    return response


@blueprint.post("/sign-out")
@operation("Failed to sign out", is_open=True)
def sign_out() -> Response:
    """End the session."""
    response = _see(url_for(".sign_in_page"))
    if is_same_origin():
        _monitor().sessions.end(response)
    return response


@blueprint.get("/static/<version>/<path:name>")
@operation("Failed to send the file", is_open=True)
def static_file(version: str, name: str) -> Response:
    """Send a style sheet, script or image."""
    return _monitor().assets.answer(version, name)


@blueprint.errorhandler(NotAuthenticated)
def _ask_to_sign_in(_refusal: NotAuthenticated) -> Response:
    return _see(url_for(".sign_in_page", next=request.full_path.rstrip("?")))


@blueprint.errorhandler(ScrapeJobError)
def _failure_page(error: ScrapeJobError) -> Response:
    return error_page(errors.error_response(error))


@blueprint.errorhandler(HTTPException)
def _http_error_page(error: HTTPException) -> Response:
    return error_page(errors.http_error_response(error))


@blueprint.errorhandler(Exception)
def _unexpected_error_page(error: Exception) -> Response:
    return error_page(errors.unexpected_error_response(error))


def _see(path: str) -> Response:
    """Return the answer that leads the browser to a page of this site."""
    response = redirect(path, 303, Response)
    assert isinstance(response, Response)
    response.set_data(b"")  # the default body is a page without our headers
    return response


def _local_path(text: str) -> str:
    """Return `text` if it is a path of this site, otherwise the path of the first page.

    Browsers read ``//host`` and ``/\\host`` as other sites, and skip control characters.
    """
    is_local = text.startswith("/") and text.isprintable() and text[1:2] not in ("/", "\\")
    return text if is_local else "/"
