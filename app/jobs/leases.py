"""What happens to a job that a worker holds: signs of life, giving it up or back, and its rescue from a dead worker."""

from typing import Any
from uuid import UUID

from app import database
from app.errors import JobNotFound, LeaseLost, LockTimeout, RetriesUsedUp, TransitionRefused
from app.events.origin import Origin
from app.jobs import lease_queries
from app.jobs.changes import Demands, change
from app.jobs.queries import Representation, Retry
from app.jobs.states import Status
from app.turns import one_row

PENDING = {"status": Status.PENDING}


@one_row
def heartbeat(job_id: UUID, lease_token: str, origin: Origin) -> Representation:
    """Extend the job's lease and return the job; of a cancelled one, tell so and record that the worker knows.

    Raises JobNotFound, LeaseLost or DatabaseFailure.
    """
    job = lease_queries.extend(job_id, lease_token)
    return job or _hear(job_id, lease_token, origin)


def _hear(job_id: UUID, lease_token: str, origin: Origin) -> Representation:
    found = lease_queries.read_cancelled(job_id, lease_token)
    if found is None:
        raise JobNotFound
    cancelled, job = found
    if not cancelled:
        raise LeaseLost
    return lease_queries.record_hearing(job_id, lease_token, origin) or job


@one_row
def retry(job_id: UUID, fields: dict[str, Any], how: Retry, demands: Demands, origin: Origin) -> Representation:
    """Send a failed job back to pending; `fields` may hold the error_message that it keeps.

    Raises JobNotFound, VersionMismatch, LeaseLost, TransitionRefused or DatabaseFailure.
    """
    return _retry(job_id, fields, how, demands, origin)


def _retry(job_id: UUID, fields: dict[str, Any], how: Retry, demands: Demands, origin: Origin) -> Representation:
    return change(job_id, {**PENDING, **fields}, demands, "retried", origin, must_move=True, retry=how)


@one_row
def give_up(job_id: UUID, error_message: str | None, how: Retry, demands: Demands, origin: Origin) -> Representation:
    """End the attempt that runs under the token in `demands` as failed, and send the job back to pending.

    Raises RetriesUsedUp where no retries are left, and the job then stays failed; and what `retry` raises.
    """
    message = error_message or f"Given up by worker {lease_queries.worker(job_id)}"
    refused: TransitionRefused | None = None
    with database.transaction():
        try:
            job = _fail(job_id, message, demands, "given_up", origin)
        except TransitionRefused as error:
            if error.current != Status.FAILED:
                raise
            return _retry(job_id, {}, how, demands, origin)  # the worker has said before that it failed
        try:
            job = _retry(job_id, {}, how, Demands(), origin)
        except TransitionRefused as error:
            refused = error
    if refused is not None:
        raise RetriesUsedUp(refused.current, refused.wanted, refused.retries)
    return job


@one_row
def release(job_id: UUID, demands: Demands, origin: Origin) -> Representation:
    """Give the running job back unfinished: it is pending again at once, and no retry is counted.

    Raises what `retry` raises.
    """
    message = f"Released by worker {lease_queries.worker(job_id)}"
    with database.transaction():
        _fail(job_id, message, demands, "released", origin)
        return change(job_id, PENDING, Demands(), "released", origin, must_move=True, retry=Retry(counts=False))


def _fail(job_id: UUID, message: str, demands: Demands, action: str, origin: Origin) -> Representation:
    failure = {"status": Status.FAILED, "error_message": message}
    return change(job_id, failure, demands, action, origin, must_move=True)


def rescue(job_id: UUID, worker_id: str, how: Retry, origin: Origin) -> bool:
    """Take a job from a worker whose lease has run out: it fails, and goes back to pending while retries are left.

    Returns whether that was done: a job that ended, or whose worker gave a sign of life, in the meantime is left alone.
    Raises LockTimeout at once where another transaction holds the job's row, or DatabaseFailure.
    """
    message = f"Lease expired: no sign of life from worker {worker_id}"
    try:
        with database.transaction():
            if not lease_queries.lock_if_free(job_id):
                raise LockTimeout
            _fail(job_id, message, Demands(lease_expired=True), "lease_expired", origin)
            try:
                _retry(job_id, {}, how, Demands(), origin)
            except TransitionRefused:
                return True
    except (LeaseLost, TransitionRefused, JobNotFound):
        return False
    return True
