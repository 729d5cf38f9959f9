"""What can be done with jobs: each function is one use, one unit of work, and knows no HTTP."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from app import database
from app.database import tenant_scope
from app.database.page_size import Fitting
from app.database.row_turns import one_row
from app.errors import InvalidInput, JobNotFound, NotCancellable, TransitionRefused
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs import list_queries, queries
from app.jobs.changes import Preconditions, change, record_created
from app.jobs.list_queries import Filters, Listed, Order
from app.jobs.merge_patch import merge_patch
from app.jobs.queries import FIELDS, Representation
from app.jobs.resuming import ResumePoint, next_point
from app.jobs.states import QUEUEABLE, Status
from app.text.sanitising import sanitise

CANCELLED = "Cancelled via API"


def create(
    jobs: Sequence[Mapping[str, Any]], provenance: Provenance, *, in_batch: bool = False
) -> Sequence[Representation]:
    """Create all of `jobs` (fields as `CreateSchema` gives them) or none, and return them in their
    order.

    Raises InvalidInput, which says which of them it is about where they come `in_batch`;
    DocumentTooLarge or DatabaseFailure.
    """
    places = [f"[{number}]." if in_batch else "" for number in range(len(jobs))]
    created = queries.create(
        [_owned(job, place) for job, place in zip(jobs, places, strict=True)], provenance
    )
    record_created([job["id"] for job in jobs], provenance)
    return created


def _owned(job: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Return the new job as one of the customer's to whom the caller is bound, if it is.

    Raises InvalidInput, which names the job's `place`, where it is somebody else's.
    """
    owner = tenant_scope.customer()
    if owner is None:
        return job
    if job["customer_config_id"] not in (None, str(owner)):
        raise InvalidInput(
            f"Invalid {place}customer_config_id: must be the one that the key is bound to, or absent"
        )
    return {**job, "customer_config_id": str(owner)}


def get(job_id: UUID) -> Representation:
    """Return the job. Raises JobNotFound or DatabaseFailure."""
    job = queries.get(job_id)
    if job is None:
        raise JobNotFound
    return job


@one_row
def update(
    job_id: UUID, fields: Mapping[str, Any], preconditions: Preconditions, provenance: Provenance
) -> Representation:
    """Change what `fields` names; stats take the old ones' place, metadata is merged at the top
    level.

    Raises JobNotFound, VersionMismatch, LeaseLost, TransitionRefused, InvalidInput,
    DocumentTooLarge, DatabaseFailure.
    """
    return change(job_id, fields, preconditions, "updated", provenance)


@one_row
def patch(
    job_id: UUID, fields: Mapping[str, Any], preconditions: Preconditions, provenance: Provenance
) -> Representation:
    """Change what `fields` names; stats, metadata and config are merged in depth, as a JSON Merge
    Patch.

    Raises what `update` raises.
    """
    with database.transaction():
        documents = queries.lock_documents(job_id)
        if documents is None:
            raise JobNotFound
        retries = (
            fields.get("status") == Status.PENDING != documents.status
        )  # and starts from nothing
        old = {
            "stats": {} if retries else documents.stats,
            "metadata": documents.metadata,
            "config": documents.config,
        }
        merged = {name: merge_patch(old[name], fields[name]) for name in old if name in fields}
        if documents.status not in QUEUEABLE and _is_same(fields.get("config"), documents.config):
            merged["config"] = (
                documents.config
            )  # sent back as it was read: its nulls are to remove nothing
        return change(
            job_id,
            {**fields, **merged},
            preconditions,
            "updated",
            provenance,
            merges_metadata=False,
        )


def _is_same(document: Any, other: Any) -> bool:
    return json.dumps(document, sort_keys=True) == json.dumps(other, sort_keys=True)


@one_row
def cancel(
    job_id: UUID, reason: str, preconditions: Preconditions, provenance: Provenance
) -> Representation:
    """Cancel a job that is not over; `reason` is sanitised text, and a blank one is none.

    Raises JobNotFound, VersionMismatch, LeaseLost, NotCancellable or DatabaseFailure.
    """
    message = sanitise(f"{CANCELLED}: {reason}") if reason.strip() else CANCELLED
    fields = {"status": Status.CANCELLED, "error_message": message}
    try:
        return change(job_id, fields, preconditions, "cancelled", provenance, must_move=True)
    except TransitionRefused as refused:
        raise NotCancellable(refused.current) from None


def page(
    filters: Filters,
    order: Order,
    after: Sequence[Any] | None,
    limit: int,
    fields: Collection[str] = FIELDS,
) -> Fitting[Listed]:
    """Return at most `limit` jobs in `order` from after the position `after` on. Raises
    DatabaseFailure."""
    return list_queries.page(filters, order, after, limit, fields)


def resumable_page(
    filters: Filters, order: Order, since: ResumePoint, limit: int, fields: Collection[str]
) -> tuple[Sequence[Listed], bool, ResumePoint]:
    """Return a page of a list in an ascending order of time, which can be asked again later. Raises
    DatabaseFailure.

    A change that is being made while the page is read carries the time when its transaction began,
    which may be before the last job of the page. A later traversal begins before that time, so that
    no such change is missed.

    Returns:
        At most `limit` jobs, whether more follow, and where to go on.
    """
    settled_before = (
        list_queries.settled_before()
    )  # first: a change that ends in between is on the page
    found = list_queries.page(filters, order, since.position, limit + 1, fields)
    shown, more = found.rows[:limit], found.is_cut or len(found.rows) > limit
    places = [(job.position[0], job.position[1]) for job in shown]
    return shown, more, next_point(since, places, settled_before, more=more)


def history(job_id: UUID, after: int, limit: int) -> Fitting[events.RecordedEvent]:
    """Return at most `limit` of the job's events that follow number `after`, oldest first.

    Raises JobNotFound or DatabaseFailure.
    """
    found = events.history(job_id, after, limit)
    if not found.rows:
        get(job_id)
    return found
