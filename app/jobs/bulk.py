"""One operation on many jobs: each job is changed by itself, with its own event.

The jobs are changed in small transactions, in the order of their ids. So two requests about the
same jobs cannot wait for each other in a circle, and other requests wait for a row a few
milliseconds at most.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from app import database
from app.errors import (
    JobNotFound,
    LockTimeout,
    NotCancellable,
    NotTried,
    ScrapeJobError,
    TransitionRefused,
)
from app.events.provenance import Provenance
from app.jobs import leases, list_queries, service
from app.jobs.change_request import Preconditions, Retry
from app.jobs.list_queries import JobFilters
from app.jobs.states import Status, sources

BATCH_JOBS = 25
"""How many jobs one transaction changes: few commits, and short locks."""

MAX_SECONDS = 20.0
"""After this time no further job is tried. A proxy waits longer than that."""

CANCELLABLE = sources(Status.CANCELLED)
RETRYABLE = sources(Status.PENDING)


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """The outcome for one job.

    Attributes:
        id: The id of the job.
        status: The status of the job now, or None if it is unknown.
        refusal: Why the job was not changed, or None if it was.
    """

    id: UUID
    status: str | None
    refusal: ScrapeJobError | None = None


def cancel(job_ids: Collection[UUID], reason: str, provenance: Provenance) -> Sequence[BulkOutcome]:
    """Cancel each of the jobs, as `app.jobs.service.cancel` does.

    Raises:
        DatabaseFailure: If the database fails. Some of the jobs may have been changed.
    """

    def change(job_id: UUID) -> str:
        service.cancel(job_id, reason, Preconditions(), provenance)
        return Status.CANCELLED

    return _change_each(job_ids, change)


def retry(
    job_ids: Collection[UUID], delay_seconds: float | None, provenance: Provenance
) -> Sequence[BulkOutcome]:
    """Return each of the failed jobs to pending, as `app.jobs.leases.retry` does.

    Raises:
        DatabaseFailure: If the database fails. Some of the jobs may have been changed.
    """

    def change(job_id: UUID) -> str:
        leases.retry(job_id, {}, Retry(delay_seconds), Preconditions(), provenance)
        return Status.PENDING

    return _change_each(job_ids, change)


def matching(
    filters: JobFilters, statuses: Collection[str], limit: int
) -> tuple[Sequence[UUID], bool]:
    """Return the newest jobs in the list with these filters that have one of `statuses`.

    Returns:
        At most `limit` ids, and whether more jobs match.

    Raises:
        DatabaseFailure: If the database fails.
    """
    found = list_queries.ids(filters, statuses, limit + 1)
    return found[:limit], len(found) > limit


def _change_each(job_ids: Collection[UUID], change: Callable[[UUID], str]) -> Sequence[BulkOutcome]:
    """Return the outcome of each job, in the order of `job_ids`."""
    deadline = time.monotonic() + MAX_SECONDS
    ordered = sorted(job_ids)
    outcomes: dict[UUID, BulkOutcome] = {}
    for start in range(0, len(ordered), BATCH_JOBS):
        batch = ordered[start : start + BATCH_JOBS]
        for outcome in _change_batch(batch, change, deadline):
            outcomes[outcome.id] = outcome
    return [outcomes[job_id] for job_id in job_ids]


def _change_batch(
    job_ids: Sequence[UUID], change: Callable[[UUID], str], deadline: float
) -> Sequence[BulkOutcome]:
    if time.monotonic() < deadline:
        try:
            with database.transaction():
                return [_outcome(job_id, change) for job_id in job_ids]
        except LockTimeout:
            pass  # it has rolled the transaction back: only the locked jobs are to be refused
    return [_outcome_alone(job_id, change, deadline) for job_id in job_ids]


def _outcome_alone(job_id: UUID, change: Callable[[UUID], str], deadline: float) -> BulkOutcome:
    if time.monotonic() >= deadline:
        return BulkOutcome(job_id, None, NotTried())
    try:
        return _outcome(job_id, change)
    except LockTimeout as refusal:
        return BulkOutcome(job_id, None, refusal)


def _outcome(job_id: UUID, change: Callable[[UUID], str]) -> BulkOutcome:
    try:
        return BulkOutcome(job_id, change(job_id))
    except (NotCancellable, TransitionRefused) as refusal:
        return BulkOutcome(job_id, refusal.current, refusal)
    except JobNotFound as refusal:
        return BulkOutcome(job_id, None, refusal)
