"""Operations on a leased job: heartbeat, retry, release, and rescue of an expired lease."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app import database
from app.database.row_limiter import limited_per_row
from app.errors import JobNotFound, LeaseLost, LockTimeout, TransitionRefused
from app.events.provenance import Provenance
from app.jobs import changes, lease_queries
from app.jobs.change_request import Change, Preconditions, Retry
from app.jobs.representation import Representation
from app.jobs.states import Status


@limited_per_row
def heartbeat(job_id: UUID, lease_token: str, provenance: Provenance) -> Representation:
    """Extend the job's lease and return the job.

    If the job was cancelled under the token, return it as it is, and record that its worker was
    informed.

    Raises:
        JobNotFound: If the job does not exist.
        LeaseLost: If the job is not leased under `lease_token`.
        DatabaseFailure: If the database fails.
    """
    job = lease_queries.extend(job_id, lease_token)
    return job or _read_cancelled(job_id, lease_token, provenance)


def _read_cancelled(job_id: UUID, lease_token: str, provenance: Provenance) -> Representation:
    found = lease_queries.read_cancelled(job_id, lease_token)
    if found is None:
        raise JobNotFound
    is_cancelled, job = found
    if not is_cancelled:
        raise LeaseLost
    return lease_queries.record_cancel_heard(job_id, lease_token, provenance) or job


@limited_per_row
def retry(
    job_id: UUID,
    fields: Mapping[str, Any],
    how: Retry,
    preconditions: Preconditions,
    provenance: Provenance,
) -> Representation:
    """Return a failed job to pending.

    Args:
        job_id: The id of the job.
        fields: Further fields to change: the error_message that the job keeps, or none.
        how: When the job is due, and how the retry counts.
        preconditions: The conditions that the job must meet.
        provenance: The provenance of the event.

    Raises:
        JobNotFound: If the job does not exist.
        VersionMismatch: If the job has another version than the preconditions accept.
        LeaseLost: If the job is not leased under the token of the preconditions.
        TransitionRefused: If the job is not failed, or no retries are left.
        DatabaseFailure: If the database fails.
    """
    return _retry(job_id, fields, how, preconditions, provenance)


def _retry(
    job_id: UUID,
    fields: Mapping[str, Any],
    how: Retry,
    preconditions: Preconditions,
    provenance: Provenance,
) -> Representation:
    change = Change(
        "retried",
        {"status": Status.PENDING, **fields},
        preconditions,
        must_change_status=True,
        retry=how,
    )
    return changes.apply(job_id, change, provenance)


@limited_per_row
def give_up(
    job_id: UUID,
    error_message: str | None,
    how: Retry,
    preconditions: Preconditions,
    provenance: Provenance,
) -> Representation | TransitionRefused:
    """End the attempt under the lease token as failed, and return the job to pending.

    Returns:
        The pending job. Or the refusal of the retry if no retries are left: the job is failed
        then. The refusal is returned, not raised, so that the failure is committed with it.

    Raises:
        JobNotFound: If the job does not exist.
        VersionMismatch: If the job has another version than the preconditions accept.
        LeaseLost: If the job is not leased under the token of the preconditions.
        TransitionRefused: If the job is neither running nor failed, or if it was failed before
            and no retries are left. Nothing is changed then.
        DatabaseFailure: If the database fails.
    """
    message = error_message or f"Given up by worker {lease_queries.read_worker_id(job_id)}"
    with database.transaction():
        try:
            _fail(job_id, message, preconditions, "given_up", provenance)
        except TransitionRefused as refusal:
            if refusal.current != Status.FAILED:
                raise
            # The worker has reported the failure before.
            return _retry(job_id, {}, how, preconditions, provenance)
        try:
            return _retry(job_id, {}, how, Preconditions(), provenance)
        except TransitionRefused as refusal:
            return refusal


@limited_per_row
def release(job_id: UUID, preconditions: Preconditions, provenance: Provenance) -> Representation:
    """Return the running job to pending unfinished. It is due at once, and no retry is counted.

    Raises:
        JobNotFound: If the job does not exist.
        VersionMismatch: If the job has another version than the preconditions accept.
        LeaseLost: If the job is not leased under the token of the preconditions.
        TransitionRefused: If the job is not running.
        DatabaseFailure: If the database fails.
    """
    message = f"Released by worker {lease_queries.read_worker_id(job_id)}"
    change = Change(
        "released",
        {"status": Status.PENDING},
        must_change_status=True,
        retry=Retry(counts=False),
    )
    with database.transaction():
        _fail(job_id, message, preconditions, "released", provenance)
        return changes.apply(job_id, change, provenance)


def _fail(
    job_id: UUID, message: str, preconditions: Preconditions, action: str, provenance: Provenance
) -> None:
    fields = {"status": Status.FAILED, "error_message": message}
    change = Change(action, fields, preconditions, must_change_status=True)
    changes.apply(job_id, change, provenance)


def rescue(job_id: UUID, worker_id: str, how: Retry, provenance: Provenance) -> bool:
    """End the attempt of a worker whose lease has expired, and return the job to pending.

    The job stays failed if no retries are left.

    Returns:
        Whether the job was rescued. False if it ended, or its lease was extended, in the meantime.

    Raises:
        LockTimeout: At once, if another transaction holds the lock of the job's row.
        DatabaseFailure: If the database fails.
    """
    message = f"Lease expired: no sign of life from worker {worker_id}"
    try:
        with database.transaction():
            if not lease_queries.lock_if_free(job_id):
                raise LockTimeout
            _fail(job_id, message, Preconditions(lease_expired=True), "lease_expired", provenance)
            try:
                _retry(job_id, {}, how, Preconditions(), provenance)
            except TransitionRefused:
                return True
    except (LeaseLost, TransitionRefused, JobNotFound):
        return False
    return True
