"""How much one caller, or one job, may be asked for: limits a minute, shared through Redis where there is one."""

import math
import time
from dataclasses import dataclass

from flask import Flask, Response, request
from flask_limiter import ApplicationLimit, Limiter

from app.http.guard import caller
from app.http.limit_storage import PROCESS, SHARED
from app.http.operation import current

STRATEGY = "sliding-window-counter"


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests a minute: `reads`, `updates` and `creations` of one caller, and `job_updates` of one job."""

    reads: int
    updates: int
    creations: int
    job_updates: int


def register(app: Flask, limits: Limits, redis_url: str | None) -> None:
    """Make `app` keep to `limits`, and tell in every answer what is left."""
    amounts = {"reads": limits.reads, "updates": limits.updates, "creations": limits.creations}

    # Two limits, and not one of each kind: the library works out all that it has with each request.
    of_caller = ApplicationLimit(
        lambda: _a_minute(amounts[_kind()]),
        key_function=lambda: f"{_kind()} {_caller()}",
        exempt_when=lambda: not _is_limited(),
        error_message=lambda: f"At most {amounts[_kind()]} {_kind()} a minute",
    )
    of_job = ApplicationLimit(
        _a_minute(limits.job_updates),
        key_function=_job,
        exempt_when=lambda: not _is_update_of_a_job(),
        error_message=f"At most {limits.job_updates} updates of one job a minute",
    )
    limiter = Limiter(
        _caller,
        app=app,
        application_limits=[of_caller, of_job],
        strategy=STRATEGY,
        storage_uri=f"{SHARED}{redis_url}" if redis_url else PROCESS,
        key_prefix="scrape-jobs",
    )

    @app.after_request
    def _tell(response: Response) -> Response:
        found = limiter.current_limit  # the one that was exceeded, if one was
        if found is not None and not found.breached:
            found = min(limiter.current_limits, key=lambda one: one.remaining)
        if found is not None:
            seconds = max(0, math.ceil(found.reset_at - time.time()))
            response.headers["RateLimit-Limit"] = str(found.limit.amount)
            response.headers["RateLimit-Remaining"] = str(max(0, found.remaining))
            response.headers["RateLimit-Reset"] = str(seconds)
            if response.status_code == 429:
                response.headers["Retry-After"] = str(max(1, seconds))
        return response


def _a_minute(amount: int) -> str:
    return f"{amount}/minute"


def _caller() -> str:
    actor = caller().actor
    return f"key {actor.id}" if actor.id else f"address {request.remote_addr}"


def _job() -> str:
    """Return whose job it is as far as the caller sees: what is sent at other customers' jobs is none of theirs."""
    return f"{(request.view_args or {}).get('id', '')} {caller().customer or 'all'}".lower()


def _kind() -> str:
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return "reads"
    return "creations" if request.endpoint == "jobs.create_jobs" else "updates"


def _is_limited() -> bool:
    declared = current()
    return declared is not None and not declared.is_open and request.method != "OPTIONS"


def _is_update_of_a_job() -> bool:
    is_of_a_job = request.blueprint in ("jobs", "queue") and "id" in (request.view_args or {})
    return is_of_a_job and _kind() == "updates" and _is_limited()
