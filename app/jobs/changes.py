"""The one way to change a job: apply the change, then log and announce it after the commit."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from app import database
from app.errors import JobNotFound
from app.events.provenance import Provenance
from app.events.signals import announce_status_change, announce_work
from app.jobs import change_queries, lease_queries
from app.jobs.change_request import Change
from app.jobs.comparisons import QUEUE_FIELDS
from app.jobs.refusals import REFUSALS_WITH_STATUS, RefusedChange
from app.jobs.representation import Representation
from app.jobs.states import Status
from app.observability.change_log import LoggedChange, log_change
from app.observability.metrics import LEASE_EXPIRIES, TRANSITIONS


def apply(job_id: UUID, change: Change, provenance: Provenance) -> Representation:
    """Change the job and return it as it is now.

    If the change, or its refusal, informs a worker that its job is cancelled, that is recorded.

    Raises:
        JobNotFound: If the job does not exist.
        VersionMismatch: If the job has another version than the preconditions accept.
        LeaseLost: If the job is not leased under the token of the preconditions.
        TransitionRefused: If the requested status cannot follow the job's status.
        InvalidInput: If a field cannot have the requested value.
        DocumentTooLarge: If a document would be too large.
        DatabaseFailure: If the database fails.
    """
    outcome = change_queries.apply(job_id, change, provenance)
    if outcome is None:
        raise JobNotFound
    lease_token = change.preconditions.lease_token
    if isinstance(outcome, RefusedChange):
        if (
            lease_token is not None
            and outcome.status == Status.CANCELLED
            and outcome.refusal in REFUSALS_WITH_STATUS
        ):
            # After the end: the refusal mostly rolls the transaction back, but informs the worker.
            database.after_end(
                partial(lease_queries.record_cancel_heard, job_id, lease_token, provenance)
            )
        raise outcome.exception()
    job = outcome.job
    if lease_token is not None and outcome.old_status == Status.CANCELLED:
        job = lease_queries.record_cancel_heard(job_id, lease_token, provenance) or job
    new_status = change.status or outcome.old_status
    record(change.action, str(job_id), outcome.old_status, new_status, provenance)
    if new_status == Status.PENDING and any(name in change.fields for name in QUEUE_FIELDS):
        database.after_commit(announce_work)  # this job or the one behind it may be due now
    return job


def record(
    action: str, job_id: str, old_status: str | None, new_status: str, provenance: Provenance
) -> None:
    """After the commit, log a change and announce a change of the status."""
    _log(action, job_id, old_status, new_status, provenance)
    if action == "lease_expired":
        database.after_commit(LEASE_EXPIRIES.inc)
    if new_status != old_status:
        _announce(old_status, new_status, 1)


def record_created(job_ids: Sequence[str], provenance: Provenance) -> None:
    """After the commit, log each new job and announce all of them together."""
    for job_id in job_ids:
        _log("created", job_id, None, Status.PENDING, provenance)
    _announce(None, Status.PENDING, len(job_ids))


def _log(
    action: str, job_id: str, old_status: str | None, new_status: str, provenance: Provenance
) -> None:
    actor = provenance.actor.id or provenance.actor.type
    change = LoggedChange(action, job_id, old_status, new_status, actor, provenance.request_id)
    database.after_commit(partial(log_change, change))


def _announce(old_status: str | None, new_status: str, jobs: int) -> None:
    database.after_commit(partial(TRANSITIONS.labels(old_status or "none", new_status).inc, jobs))
    database.after_commit(announce_status_change)
    if new_status == Status.PENDING or old_status == Status.RUNNING:
        database.after_commit(announce_work)
