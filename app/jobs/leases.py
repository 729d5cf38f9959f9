"""What happens to a job that a worker holds: signs of life, giving it up or back, and its rescue
from a dead worker."""

from typing import Any
from uuid import UUID

from app import database
from app.database.row_turns import one_row
from app.errors import JobNotFound, LeaseLost, LockTimeout, RetriesUsedUp, TransitionRefused
from app.events.provenance import Provenance
from app.jobs import lease_queries
from app.jobs.changes import Preconditions, change
from app.jobs.queries import Representation, Retry
from app.jobs.states import Status

PENDING = {"status": Status.PENDING}


@one_row
def heartbeat(job_id: UUID, lease_token: str, provenance: Provenance) -> Representation:
    """Extend the job's lease and return the job; of a cancelled one, tell so and record that the
    worker knows.

    Raises JobNotFound, LeaseLost or DatabaseFailure.
    """
    job = lease_queries.extend(job_id, lease_token)
    return job or _hear(job_id, lease_token, provenance)


def _hear(job_id: UUID, lease_token: str, provenance: Provenance) -> Representation:
    found = lease_queries.read_cancelled(job_id, lease_token)
    if found is None:
        raise JobNotFound
    cancelled, job = found
    if not cancelled:
        raise LeaseLost
    return lease_queries.record_hearing(job_id, lease_token, provenance) or job


@one_row
def retry(
    job_id: UUID,
    fields: dict[str, Any],
    how: Retry,
    preconditions: Preconditions,
    provenance: Provenance,
) -> Representation:
    """Send a failed job back to pending; `fields` may hold the error_message that it keeps.

    Raises JobNotFound, VersionMismatch, LeaseLost, TransitionRefused or DatabaseFailure.
    """
    return _retry(job_id, fields, how, preconditions, provenance)


def _retry(
    job_id: UUID,
    fields: dict[str, Any],
    how: Retry,
    preconditions: Preconditions,
    provenance: Provenance,
) -> Representation:
    return change(
        job_id,
        {**PENDING, **fields},
        preconditions,
        "retried",
        provenance,
        must_move=True,
        retry=how,
    )


@one_row
def give_up(
    job_id: UUID,
    error_message: str | None,
    how: Retry,
    preconditions: Preconditions,
    provenance: Provenance,
) -> Representation:
    """End the attempt that runs under the token in `preconditions` as failed, and send the job back
    to pending.

    Raises RetriesUsedUp where no retries are left, and the job then stays failed; and what `retry`
    raises.
    """
    message = error_message or f"Given up by worker {lease_queries.worker(job_id)}"
    refused: TransitionRefused | None = None
    with database.transaction():
        try:
            job = _fail(job_id, message, preconditions, "given_up", provenance)
        except TransitionRefused as error:
            if error.current != Status.FAILED:
                raise
            return _retry(
                job_id, {}, how, preconditions, provenance
            )  # the worker has said before that it failed
        try:
            job = _retry(job_id, {}, how, Preconditions(), provenance)
        except TransitionRefused as error:
            refused = error
    if refused is not None:
        raise RetriesUsedUp(refused.current, refused.wanted, refused.retries)
    return job


@one_row
def release(job_id: UUID, preconditions: Preconditions, provenance: Provenance) -> Representation:
    """Give the running job back unfinished: it is pending again at once, and no retry is counted.

    Raises what `retry` raises.
    """
    message = f"Released by worker {lease_queries.worker(job_id)}"
    with database.transaction():
        _fail(job_id, message, preconditions, "released", provenance)
        return change(
            job_id,
            PENDING,
            Preconditions(),
            "released",
            provenance,
            must_move=True,
            retry=Retry(counts=False),
        )


def _fail(
    job_id: UUID, message: str, preconditions: Preconditions, action: str, provenance: Provenance
) -> Representation:
    failure = {"status": Status.FAILED, "error_message": message}
    return change(job_id, failure, preconditions, action, provenance, must_move=True)


def rescue(job_id: UUID, worker_id: str, how: Retry, provenance: Provenance) -> bool:
    """Take a job from a worker whose lease has run out: it fails, and goes back to pending while
    retries are left.

    Returns whether that was done: a job that ended, or whose worker gave a sign of life, in the
    meantime is left alone. Raises LockTimeout at once where another transaction holds the job's
    row, or DatabaseFailure.
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
