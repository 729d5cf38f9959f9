"""How much one caller, or one job, may be asked for: limits a minute, shared through Redis where
there is one."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from flask import Flask, Response, g, request
from flask_limiter import Limiter
from limits import RateLimitItem, RateLimitItemPerMinute, WindowStats
from limits.strategies import RateLimiter

from app.api_keys.scopes import Scope, allows
from app.errors import TooManyRequests
from app.http.access import caller
from app.http.address import rate_limit_address
from app.http.fields import is_id
from app.http.operation import current
from app.rate_limits.counters import PROCESS, SHARED

READS, UPDATES, CREATIONS, JOB_UPDATES = "reads", "updates", "creations", "updates of one job"

STRATEGY = "sliding-window-counter"


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests a minute: `reads`, `updates` and `creations` of one caller, and `job_updates` of one
    job."""

    reads: int
    updates: int
    creations: int
    job_updates: int


class _Count(NamedTuple):
    """What a request counts as, and among whose."""

    kind: str
    whose: str


class _Told(NamedTuple):
    """What an answer tells: how many are allowed a minute, how many are left, and until when."""

    amount: int
    window: WindowStats


def register(app: Flask, limits: Limits, redis_url: str | None) -> None:
    """Make `app` keep to `limits`, and tell in every answer what is left."""
    allowed: Mapping[str, RateLimitItem] = {
        READS: RateLimitItemPerMinute(limits.reads),
        UPDATES: RateLimitItemPerMinute(limits.updates),
        CREATIONS: RateLimitItemPerMinute(limits.creations),
        JOB_UPDATES: RateLimitItemPerMinute(limits.job_updates),
    }
    limiter = _limiter(f"{SHARED}{redis_url}" if redis_url else PROCESS)

    def told(count: _Count) -> _Told:
        return _Told(
            allowed[count.kind].amount, limiter.get_window_stats(allowed[count.kind], *count)
        )

    @app.before_request
    def _keep() -> None:
        counts = _counts()
        for count in counts:
            if not limiter.hit(allowed[count.kind], *count):
                g.limit = told(count)
                raise TooManyRequests(g.limit.amount, count.kind)
        if counts:  # what is told is the limit that will be met first
            g.limit = min(map(told, counts), key=lambda one: one.window.remaining)

    @app.after_request
    def _tell(response: Response) -> Response:
        found: _Told | None = g.get("limit")
        if found is not None:
            seconds = max(0, math.ceil(found.window.reset_time - time.time()))
            response.headers["RateLimit-Limit"] = str(found.amount)
            response.headers["RateLimit-Remaining"] = str(max(0, found.window.remaining))
            response.headers["RateLimit-Reset"] = str(seconds)
            if response.status_code == 429:
                response.headers["Retry-After"] = str(max(1, seconds))
        return response


def _limiter(storage_uri: str) -> RateLimiter:
    """Return Flask-Limiter's counting, without its hooks, which go to an application that nobody
    calls.

    They find a request's limits by a way that took a third of what a GET takes; and they ask what
    is left after the work is done, when Redis may have gone.
    """
    extension = Limiter(_caller, strategy=STRATEGY, storage_uri=storage_uri)
    extension.init_app(Flask(__name__))
    return extension.limiter


def _counts() -> list[_Count]:
    """Return what the current request counts as."""
    declared = current()
    if declared is None or declared.is_open or request.method == "OPTIONS":
        return []
    if request.method in ("GET", "HEAD"):
        return [_Count(READS, _caller())]
    if request.endpoint == "jobs.create_jobs":
        return [_Count(CREATIONS, _caller())]
    job = (request.view_args or {}).get("id") if request.blueprint in ("jobs", "queue") else None
    if job is None or not is_id(job):
        return [_Count(UPDATES, _caller())]
    return [
        _Count(UPDATES, _caller()),
        _Count(JOB_UPDATES, f"{job.lower()} {_those_who_may_change_it()}"),
    ]


def _those_who_may_change_it() -> str:
    """Return with whom the caller shares a job's updates, so that nobody uses up those of others.

    What is sent at another customer's job counts for that customer no more than it shows. A worker,
    who may change a job only while it holds its lease, has a count of its own: it is not known yet
    whether it holds it.
    """
    who = caller()
    may_at_any_time = allows(who.scopes, (Scope.JOBS_WRITE, Scope.JOBS_CANCEL))
    return f"of {who.customer or 'all'}" if may_at_any_time else _caller()


def _caller() -> str:
    actor = caller().actor
    return f"key {actor.id}" if actor.id else f"address {rate_limit_address()}"
