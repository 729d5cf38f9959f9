"""The rate limits of requests: which counters a request counts in, and the headers that say so.

Reads, updates and creations are counted for each caller: for each API key, or without keys for
each client address. Updates of a job are counted for the job, too. Requests without a valid key or
the required scope are rejected before they count; throttle those in nginx.
"""

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

from flask import Response
from limits import RateLimitItemPerMinute

from app.api_keys.scopes import Scope, allows
from app.api_keys.service import Caller
from app.errors import TooManyRequests
from app.http.address import rate_limit_address
from app.http.context import LimitState, RequestContext
from app.http.operation import RateLimitClass
from app.rate_limits.counters import Counters, ProcessCounters, SharedCounters


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The maximum number of requests a minute: of one caller, and of updates of one job."""

    reads: int
    updates: int
    creations: int
    job_updates: int


class CounterId(NamedTuple):
    """The class that a request counts as, and the group of requests that is counted together."""

    rate_limit_class: RateLimitClass
    group: str


class RateLimiter:
    """Keeps requests within the limits; its methods are steps of `app.http.lifecycle`."""

    def __init__(self, limits: RateLimits, redis_url: str | None) -> None:
        """Count in the Redis at `redis_url`, which processes share, or in this process."""
        self._items = {
            RateLimitClass.READS: RateLimitItemPerMinute(limits.reads),
            RateLimitClass.UPDATES: RateLimitItemPerMinute(limits.updates),
            RateLimitClass.CREATIONS: RateLimitItemPerMinute(limits.creations),
            RateLimitClass.JOB_UPDATES: RateLimitItemPerMinute(limits.job_updates),
        }
        self._counters: Counters = SharedCounters(redis_url) if redis_url else ProcessCounters()

    def check(self, context: RequestContext, caller: Caller) -> None:
        """Count the request. Raises TooManyRequests past a limit."""
        counters = _counters_of(context, caller)
        for counter in counters:
            if not self._counters.hit(self._items[counter.rate_limit_class], *counter):
                context.limit = self._state(counter)
                raise TooManyRequests(context.limit.amount, counter.rate_limit_class)
        if counters:  # the answer shows the limit that will be reached first
            context.limit = min(map(self._state, counters), key=lambda state: state.remaining)

    def add_headers(self, context: RequestContext, response: Response) -> None:
        """Add the state of the limit to the answer: RateLimit-* and, if refused, Retry-After."""
        state = context.limit
        if state is None:
            return
        seconds = max(0, math.ceil(state.reset_time - time.time()))
        response.headers["RateLimit-Limit"] = str(state.amount)
        response.headers["RateLimit-Remaining"] = str(max(0, state.remaining))
        response.headers["RateLimit-Reset"] = str(seconds)
        if response.status_code == 429:
            response.headers["Retry-After"] = str(max(1, seconds))

    def _state(self, counter: CounterId) -> LimitState:
        item = self._items[counter.rate_limit_class]
        window = self._counters.get_window_stats(item, *counter)
        return LimitState(item.amount, window.remaining, window.reset_time)


def _counters_of(context: RequestContext, caller: Caller) -> list[CounterId]:
    """Return the counters that the request counts in."""
    declared = context.operation
    if declared is None or declared.is_open:
        return []
    rate_limit_class = declared.rate_limit_class(context.request.method)
    if rate_limit_class is not RateLimitClass.JOB_UPDATES:
        return [CounterId(rate_limit_class, _caller_group(context, caller))]
    counters = [CounterId(RateLimitClass.UPDATES, _caller_group(context, caller))]
    job_id = context.id_of("job")
    if job_id is not None:
        group = f"{job_id.lower()} {_writers_group(context, caller)}"
        counters.append(CounterId(RateLimitClass.JOB_UPDATES, group))
    return counters


def _caller_group(context: RequestContext, caller: Caller) -> str:
    key_id = caller.actor.id
    return f"key {key_id}" if key_id else f"address {rate_limit_address(context.address)}"


def _writers_group(context: RequestContext, caller: Caller) -> str:
    """Return the callers that share a limit of updates of one job with the caller.

    Callers with the right to change jobs share it within their customer, so that requests for the
    job of another customer, which are refused, do not use up its owner's limit. A worker may
    change a job only while it holds the lease. Whether it does is not known yet, so each worker
    has a limit of its own.
    """
    if allows(caller.scopes, (Scope.JOBS_WRITE, Scope.JOBS_CANCEL)):
        return f"of {caller.customer or 'all'}"
    return _caller_group(context, caller)
