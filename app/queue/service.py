"""What can be done with the queue: each function is one use, and knows no HTTP."""

import logging
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.errors import JobNotFound
from app.events.provenance import Provenance
from app.jobs.changes import record
from app.jobs.states import Status
from app.queue import distributed, queries
from app.queue.queries import MOST_COUNTED, Leased, Wanted

log = logging.getLogger(__name__)

SPARES = (8, 50, 100, 200, 400, 800, 1600, 1600)
"""How many more candidates each try of a claim looks at than it takes: others take at the same
time."""

SHOWN_SPARE = 200
"""Likewise of a look at what comes next, of which some may be more than a limit allows."""

PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Worker:
    """Who asks for work: its name, and how long each job is its own without a sign of life."""

    id: str
    lease_seconds: int


def claim(
    wanted: Wanted, worker: Worker, limit: int, provenance: Provenance, *, spread: bool = False
) -> Sequence[Leased]:
    """Lease at most `limit` of the due jobs that come next to the worker; `spread` is for a
    distributed table.

    Raises DatabaseFailure.
    """
    tokens = [secrets.token_urlsafe(24) for _ in range(limit)]
    take = distributed.claim if spread else _claim
    jobs = take(wanted, worker.id, worker.lease_seconds, tokens, provenance)
    for job in jobs:
        record("claimed", str(job.id), Status.PENDING, Status.RUNNING, provenance)
    return jobs


def _claim(
    wanted: Wanted,
    worker_id: str,
    lease_seconds: int,
    tokens: Sequence[str],
    provenance: Provenance,
) -> Sequence[Leased]:
    jobs: list[Leased] = []
    lanes = wanted.lanes
    for spare in SPARES:
        found = queries.claim(
            lanes, wanted, worker_id, lease_seconds, tokens[len(jobs) :], spare, provenance
        )
        jobs.extend(found.jobs)
        if found.cut_off:
            lanes = "all_domains"
        elif len(jobs) == len(tokens) or not (found.passed_over or found.goes_on):
            break
        elif not found.jobs:
            time.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311 - lets rivals pass, hides nothing
    return sorted(jobs)


def upcoming(wanted: Wanted, limit: int) -> Sequence[Leased]:
    """Return at most `limit` of the jobs that come next, as many as fit a page, and take none.

    Raises DatabaseFailure.
    """
    found = queries.upcoming(wanted.lanes, wanted, limit, SHOWN_SPARE)
    if found.cut_off:
        found = queries.upcoming("all_domains", wanted, limit, SHOWN_SPARE)
    return found.jobs


def depth() -> queries.Depth:
    """Return how much work waits. Raises DatabaseFailure."""
    return queries.depth()


def place(job_id: UUID, domain_limit: int | None) -> dict[str, Any]:
    """Return where the job stands in the queue, and why it has not started.

    Raises JobNotFound or DatabaseFailure.
    """
    found = queries.place(job_id, domain_limit)
    if found is None:
        raise JobNotFound
    pending = found.status == Status.PENDING
    waits = pending and found.is_due
    full = (
        pending
        and found.limit is not None
        and found.running is not None
        and found.running >= found.limit
    )
    held_back_by = None
    if full:
        own = found.max_concurrent is not None and found.max_concurrent == found.limit
        held_back_by = {
            "limit": "config.maxConcurrent" if own else "SCRAPE_JOBS_DOMAIN_LIMIT",
            "domain": found.domain,
            "allowed": found.limit,
            "running": found.running,
        }
    return {
        "id": str(job_id),
        "status": found.status,
        "priority": found.priority,
        "due_at": found.due_at if pending else None,
        "position": found.ahead + 1 if waits else None,
        "position_is_exact": found.ahead < MOST_COUNTED if waits else None,
        "held_back_by": held_back_by,
        "reason": _reason(found, held_back_by),
    }


def _reason(found: queries.Place, held_back_by: dict[str, Any] | None) -> str:
    if found.status != Status.PENDING:
        return f"The job is {found.status}, and only pending jobs wait"
    if not found.is_due:
        return f"The job is not due before {found.due_at}"
    if held_back_by is not None:
        running = (
            "1 job of {domain} is"
            if held_back_by["running"] == 1
            else "{running} jobs of {domain} are"
        )
        return (running + " running, and {limit} allows {allowed}").format(**held_back_by)
    if found.ahead == 0:
        return "The job is the next: it starts when a worker asks for work of its domain and type"
    if found.ahead == 1:
        return "1 due job comes before it"
    more = "at least " if found.ahead >= MOST_COUNTED else ""
    return f"{more}{found.ahead} due jobs come before it"
