"""What can be done with jobs: each function is one use, one unit of work, and knows no HTTP."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from app import database
from app.errors import (
    DocumentTooLarge,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    NotCancellable,
    TransitionRefused,
    VersionMismatch,
)
from app.events import queries as events
from app.events.origin import Origin
from app.events.signals import announce_status_change
from app.jobs import list_queries, queries
from app.jobs.list_queries import Filters, Listed, Order
from app.jobs.merge_patch import merge_patch
from app.jobs.queries import Representation
from app.jobs.states import Status
from app.text import sanitise

log = logging.getLogger(__name__)

CANCELLED = "Cancelled via API"


@dataclass(frozen=True, slots=True)
class Demands:
    """What the caller demands of the job before it is changed.

    `versions` are the ones it accepts (None: any); `lease_token` proves that the job is leased to it (None: it does not
    claim so).
    """

    versions: Sequence[int] | None = None
    lease_token: str | None = None


def create(jobs: Sequence[Mapping[str, Any]], origin: Origin) -> Sequence[Representation]:
    """Create all of `jobs` (fields as `CreateSchema` gives them) or none, and return them in their order.

    Raises DocumentTooLarge or DatabaseFailure.
    """
    created = queries.create(jobs, origin)
    for job in jobs:
        database.after_commit(partial(_log_modification, "created", job["id"], None, Status.PENDING, origin))
    return created


def get(job_id: UUID) -> Representation:
    """Return the job. Raises JobNotFound or DatabaseFailure."""
    job = queries.get(job_id)
    if job is None:
        raise JobNotFound
    return job


def update(job_id: UUID, fields: Mapping[str, Any], demands: Demands, origin: Origin) -> Representation:
    """Change what `fields` names; stats take the old ones' place, metadata is merged at the top level.

    Raises JobNotFound, VersionMismatch, LeaseLost, TransitionRefused, InvalidInput, DocumentTooLarge, DatabaseFailure.
    """
    return _change(job_id, fields, demands, "updated", origin)


def patch(job_id: UUID, fields: Mapping[str, Any], demands: Demands, origin: Origin) -> Representation:
    """Change what `fields` names; stats and metadata are merged in depth, as a JSON Merge Patch.

    Raises what `update` raises.
    """
    with database.transaction():
        documents = queries.lock_documents(job_id)
        if documents is None:
            raise JobNotFound
        retries = fields.get("status") == Status.PENDING != documents.status  # and starts from nothing
        old = {"stats": {} if retries else documents.stats, "metadata": documents.metadata}
        merged = {name: merge_patch(old[name], fields[name]) for name in old if name in fields}
        return _change(job_id, {**fields, **merged}, demands, "updated", origin, merges_metadata=False)


def cancel(job_id: UUID, reason: str, demands: Demands, origin: Origin) -> Representation:
    """Cancel a job that is not over; `reason` is sanitised text, and a blank one is none.

    Raises JobNotFound, VersionMismatch, LeaseLost, NotCancellable or DatabaseFailure.
    """
    message = sanitise(f"{CANCELLED}: {reason}") if reason.strip() else CANCELLED
    fields = {"status": Status.CANCELLED, "error_message": message}
    try:
        return _change(job_id, fields, demands, "cancelled", origin, must_move=True)
    except TransitionRefused as refused:
        raise NotCancellable(refused.current) from None


def page(filters: Filters, order: Order, after: Sequence[Any] | None, limit: int) -> Sequence[Listed]:
    """Return at most `limit` jobs in `order` from after the position `after` on. Raises DatabaseFailure."""
    return list_queries.page(filters, order, after, limit)


def history(job_id: UUID, after: int, limit: int) -> Sequence[events.RecordedEvent]:
    """Return at most `limit` of the job's events that follow number `after`, oldest first.

    Raises JobNotFound or DatabaseFailure.
    """
    found = events.history(job_id, after, limit)
    if not found:
        get(job_id)
    return found


def _change(
    job_id: UUID,
    fields: Mapping[str, Any],
    demands: Demands,
    action: str,
    origin: Origin,
    *,
    must_move: bool = False,
    merges_metadata: bool = True,
) -> Representation:
    """Change the job as `queries.change` does and return what it is now, or raise what refused it."""
    outcome = queries.change(
        job_id,
        fields,
        action=action,
        origin=origin,
        versions=demands.versions,
        lease_token=demands.lease_token,
        must_move=must_move,
        merges_metadata=merges_metadata,
    )
    wanted = fields.get("status")
    if outcome is None:
        raise JobNotFound
    match outcome.refusal:
        case None:
            pass
        case "version":
            raise VersionMismatch
        case "lease":
            raise LeaseLost
        case "transition":
            raise TransitionRefused(outcome.status, wanted or outcome.status)
        case "retries":
            raise TransitionRefused(outcome.status, Status.PENDING, retries=(outcome.retry_count, outcome.max_retries))
        case "completed_at":
            raise InvalidInput(f"Invalid completed_at: must not be null on a {wanted or outcome.status} job")
        case document:
            raise DocumentTooLarge(document, queries.MAX_DOCUMENT)
    assert outcome.version is not None
    assert outcome.json is not None
    new_status = wanted or outcome.status
    database.after_commit(partial(_log_modification, action, str(job_id), outcome.status, new_status, origin))
    if new_status != outcome.status:
        database.after_commit(announce_status_change)
    return Representation(job_id, outcome.version, outcome.json)


def _log_modification(action: str, job_id: str, old_status: str | None, new_status: str, origin: Origin) -> None:
    log.info(
        "job %s",
        action,
        extra={
            "job_id": job_id,
            "old_status": old_status,
            "new_status": new_status,
            "actor": origin.actor.id or origin.actor.type,
            "request_id": origin.request_id,
        },
    )
