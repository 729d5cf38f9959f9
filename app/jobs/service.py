"""What can be done with jobs: each function is one use, one unit of work, and knows no HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app import database, visibility
from app.errors import InvalidInput, JobNotFound, NotCancellable, TransitionRefused
from app.events import queries as events
from app.events.origin import Origin
from app.jobs import list_queries, queries
from app.jobs.changes import Demands, change, record_created
from app.jobs.list_queries import Filters, Listed, Order
from app.jobs.merge_patch import merge_patch
from app.jobs.queries import Representation
from app.jobs.states import Status
from app.text import sanitise
from app.turns import one_row

CANCELLED = "Cancelled via API"


def create(jobs: Sequence[Mapping[str, Any]], origin: Origin, *, in_batch: bool = False) -> Sequence[Representation]:
    """Create all of `jobs` (fields as `CreateSchema` gives them) or none, and return them in their order.

    Raises InvalidInput, which says which of them it is about where they come `in_batch`; DocumentTooLarge or
    DatabaseFailure.
    """
    places = [f"[{number}]." if in_batch else "" for number in range(len(jobs))]
    created = queries.create([_owned(job, place) for job, place in zip(jobs, places, strict=True)], origin)
    record_created([job["id"] for job in jobs], origin)
    return created


def _owned(job: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Return the new job as one of the customer's to whom the caller is bound, if it is.

    Raises InvalidInput, which names the job's `place`, where it is somebody else's.
    """
    owner = visibility.customer()
    if owner is None:
        return job
    if job["customer_config_id"] not in (None, str(owner)):
        raise InvalidInput(f"Invalid {place}customer_config_id: must be the one that the key is bound to, or absent")
    return {**job, "customer_config_id": str(owner)}


def get(job_id: UUID) -> Representation:
    """Return the job. Raises JobNotFound or DatabaseFailure."""
    job = queries.get(job_id)
    if job is None:
        raise JobNotFound
    return job


@one_row
def update(job_id: UUID, fields: Mapping[str, Any], demands: Demands, origin: Origin) -> Representation:
    """Change what `fields` names; stats take the old ones' place, metadata is merged at the top level.

    Raises JobNotFound, VersionMismatch, LeaseLost, TransitionRefused, InvalidInput, DocumentTooLarge, DatabaseFailure.
    """
    return change(job_id, fields, demands, "updated", origin)


@one_row
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
        return change(job_id, {**fields, **merged}, demands, "updated", origin, merges_metadata=False)


@one_row
def cancel(job_id: UUID, reason: str, demands: Demands, origin: Origin) -> Representation:
    """Cancel a job that is not over; `reason` is sanitised text, and a blank one is none.

    Raises JobNotFound, VersionMismatch, LeaseLost, NotCancellable or DatabaseFailure.
    """
    message = sanitise(f"{CANCELLED}: {reason}") if reason.strip() else CANCELLED
    fields = {"status": Status.CANCELLED, "error_message": message}
    try:
        return change(job_id, fields, demands, "cancelled", origin, must_move=True)
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
