"""Operations on jobs. Each function is one unit of work and is independent of HTTP."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from app import database
from app.database import tenant_scope
from app.database.page_size import PageRows
from app.database.row_limiter import limited_per_row
from app.errors import InvalidInput, JobNotFound, NotCancellable, TransitionRefused
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs import changes, create_queries, list_queries, read_queries
from app.jobs.change_request import Change, Preconditions
from app.jobs.list_queries import JobFilters, ListedJob, ListOrder
from app.jobs.merge_patch import merge_patch
from app.jobs.representation import FIELDS, Representation
from app.jobs.resuming import ResumePoint, next_point
from app.jobs.states import QUEUEABLE, Status
from app.text.sanitising import sanitise

CANCEL_MESSAGE = "Cancelled via API"


def create(
    jobs: Sequence[Mapping[str, Any]], provenance: Provenance, *, in_batch: bool = False
) -> Sequence[Representation]:
    """Create all jobs or none, and return them in the same order.

    Args:
        jobs: The fields of each job, as `CreateSchema` returns them.
        provenance: The provenance of their first events.
        in_batch: Whether errors name the job's index in the batch.

    Raises:
        InvalidInput: If a job belongs to another customer than the API key.
        DocumentTooLarge: If a config or metadata is too large.
        DatabaseFailure: If the database fails.
    """
    places = [f"[{number}]." if in_batch else "" for number in range(len(jobs))]
    owned_jobs = [_with_customer(job, place) for job, place in zip(jobs, places, strict=True)]
    created = create_queries.create(owned_jobs, provenance)
    changes.record_created([job["id"] for job in jobs], provenance)
    return created


def _with_customer(job: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Return the new job with the customer of the tenant scope, if the scope is one customer.

    Raises:
        InvalidInput: If the job names another customer. The error begins with `place`.
    """
    owner = tenant_scope.customer()
    if owner is None:
        return job
    if job["customer_config_id"] not in (None, str(owner)):
        reason = "must be the one that the key is bound to, or absent"
        raise InvalidInput(f"Invalid {place}customer_config_id: {reason}")
    return {**job, "customer_config_id": str(owner)}


def get(job_id: UUID, known_tags: Sequence[str] = ()) -> Representation:
    """Return the job. Its JSON is empty if the job has one of `known_tags`.

    Raises:
        JobNotFound: If the job does not exist.
        DatabaseFailure: If the database fails.
    """
    job = read_queries.get(job_id, known_tags)
    if job is None:
        raise JobNotFound
    return job


@limited_per_row
def update(
    job_id: UUID, fields: Mapping[str, Any], preconditions: Preconditions, provenance: Provenance
) -> Representation:
    """Change the given fields. New stats replace the old ones, metadata is merged at the top level.

    Raises:
        ScrapeJobError: One of the exceptions that `app.jobs.changes.apply` raises.
    """
    return changes.apply(job_id, Change("updated", fields, preconditions), provenance)


@limited_per_row
def patch(
    job_id: UUID, fields: Mapping[str, Any], preconditions: Preconditions, provenance: Provenance
) -> Representation:
    """Change the given fields. Stats, metadata and config are merged as JSON Merge Patches.

    Raises:
        ScrapeJobError: One of the exceptions that `app.jobs.changes.apply` raises.
    """
    with database.transaction():
        documents = read_queries.lock_documents(job_id)
        if documents is None:
            raise JobNotFound
        merged = {**fields, **_merged_documents(documents, fields)}
        change = Change("updated", merged, preconditions, merges_metadata=False)
        return changes.apply(job_id, change, provenance)


def _merged_documents(
    documents: read_queries.Documents, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the documents among `fields`, merged into those of the job."""
    is_retry = fields.get("status") == Status.PENDING != documents.status
    old = {
        "stats": {} if is_retry else documents.stats,  # a retry starts with empty stats
        "metadata": documents.metadata,
        "config": documents.config,
    }
    merged = {name: merge_patch(old[name], fields[name]) for name in old if name in fields}
    if documents.status not in QUEUEABLE and _is_same(fields.get("config"), documents.config):
        # The client sent the config back as it read it. As a patch, its nulls would remove keys.
        merged["config"] = documents.config
    return merged


def _is_same(document: Any, other: Any) -> bool:
    return json.dumps(document, sort_keys=True) == json.dumps(other, sort_keys=True)


@limited_per_row
def cancel(
    job_id: UUID, reason: str, preconditions: Preconditions, provenance: Provenance
) -> Representation:
    """Cancel a job that has no final status.

    Args:
        job_id: The id of the job.
        reason: Sanitised text for the error message. A blank text gives no reason.
        preconditions: The conditions that the job must meet.
        provenance: The provenance of the event.

    Raises:
        JobNotFound: If the job does not exist.
        VersionMismatch: If the job has another version than the preconditions accept.
        LeaseLost: If the job is not leased under the token of the preconditions.
        NotCancellable: If the job has a final status.
        DatabaseFailure: If the database fails.
    """
    message = sanitise(f"{CANCEL_MESSAGE}: {reason}") if reason.strip() else CANCEL_MESSAGE
    fields = {"status": Status.CANCELLED, "error_message": message}
    change = Change("cancelled", fields, preconditions, must_change_status=True)
    try:
        return changes.apply(job_id, change, provenance)
    except TransitionRefused as refusal:
        raise NotCancellable(refusal.current) from None


def page(
    filters: JobFilters,
    order: ListOrder,
    after: Sequence[Any] | None,
    limit: int,
    fields: Collection[str] = FIELDS,
) -> PageRows[ListedJob]:
    """Return a page of the list, as `app.jobs.list_queries.page` does.

    Raises:
        DatabaseFailure: If the database fails.
    """
    return list_queries.page(filters, order, after, limit, fields)


def resumable_page(
    filters: JobFilters, order: ListOrder, since: ResumePoint, limit: int, fields: Collection[str]
) -> tuple[Sequence[ListedJob], bool, ResumePoint]:
    """Return a page of a list in ascending order of time, which can be resumed later.

    A change that is uncommitted while the page is read has the time when its transaction began.
    That may be before the last job of the page. A later traversal begins before that time, so that
    it does not miss the change.

    Returns:
        At most `limit` jobs, whether more follow, and where to resume.

    Raises:
        DatabaseFailure: If the database fails.
    """
    # Read before the page: a change that is committed in between is then on the page.
    settled_before = list_queries.settled_before()
    found = list_queries.page(filters, order, since.position, limit + 1, fields)
    shown, more = found.rows[:limit], found.is_cut or len(found.rows) > limit
    places = [(job.position[0], job.position[1]) for job in shown]
    return shown, more, next_point(since, places, settled_before, more=more)


def history(job_id: UUID, after: int, limit: int) -> PageRows[events.RecordedEvent]:
    """Return at most `limit` of the job's events after number `after`, oldest first.

    Raises:
        JobNotFound: If the job does not exist.
        DatabaseFailure: If the database fails.
    """
    found = events.history(job_id, after, limit)
    if not found.rows:
        get(job_id)
    return found
