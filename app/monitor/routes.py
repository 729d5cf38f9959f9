"""The pages of the monitor.

A page shows what the API answers to its viewer: the first answers come with the page, its scripts
call the public API for all others and for changes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, request, url_for

from app.api_keys.scopes import Scope
from app.http.operation import operation
from app.jobs import routes as jobs
from app.jobs import schemas as job_schemas
from app.jobs.representation import FIELDS
from app.jobs.states import Status
from app.monitor import sign_in
from app.monitor.assets import Assets
from app.monitor.failures import answer_with_pages
from app.monitor.pages import ApiCall, page
from app.monitor.sessions import Sessions
from app.monitor.sign_in import FindCaller
from app.statistics import routes as statistics
from app.statistics import schemas as statistics_schemas
from app.webhooks import routes as webhooks

NAME = "monitor"

blueprint = Blueprint(NAME, __name__, template_folder="templates")
answer_with_pages(blueprint)

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


def _statistics(asked: Mapping[str, Any]) -> ApiCall:
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
        {"figures": _statistics({**asked, **since})},
        asked=asked,
        window=window if window in WINDOWS else "24h",
        windows={
            name: (label, int(length.total_seconds()) if length else None)
            for name, (label, length) in WINDOWS.items()
        },
    )


def register(app: Flask, sessions: Sessions, find_caller: FindCaller | None) -> None:
    """Add the pages and their static files to `app`.

    Args:
        app: The application.
        sessions: The sessions of signed-in users.
        find_caller: Finds the caller of the key with which a user signs in. None turns keys, and
            so sign-in, off.
    """
    assets = Assets()
    app.register_blueprint(blueprint)
    app.register_blueprint(_files(assets))
    app.register_blueprint(sign_in.make_blueprint(sessions, find_caller))
    app.jinja_env.globals.update(
        static=lambda name: url_for("monitor_files.send", version=assets.version, name=name),
        has_keys=find_caller is not None,
    )


def _files(assets: Assets) -> Blueprint:
    """Return the endpoint of the static files."""
    files = Blueprint("monitor_files", __name__)

    @files.get("/static/<version>/<path:name>")
    @operation("Failed to send the file", is_open=True)
    def send(version: str, name: str) -> Response:
        """Send a style sheet, script or image."""
        return assets.answer(version, name)

    return files
