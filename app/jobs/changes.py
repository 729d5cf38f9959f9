"""A change of one job, from asking for it to what follows its commit: every way to change a job
goes through here."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from app import database
from app.errors import JobNotFound
from app.events.provenance import Provenance
from app.events.signals import announce_status_change, announce_work
from app.jobs import lease_queries, queries
from app.jobs.comparisons import QUEUE_FIELDS
from app.jobs.queries import RETRY, Representation, Retry
from app.jobs.refusals import refused
from app.jobs.states import Status
from app.observability.metrics import LEASE_EXPIRIES, TRANSITIONS

log = logging.getLogger(__name__)


TELLING_REFUSALS = ("transition", "completed_at")
"""Refusals whose text names the job's status, so that a worker learns of a cancellation by them."""


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What the caller preconditions of the job before it is changed.

    `versions` are the ones it accepts (None: any); `lease_token` proves that the job is leased to
    it (None: it does not claim so); `lease_expired` requires that the lease has run out by the
    clock of the database; `fixed` holds the values that fields which are not to be changed must
    have, as JSON values.
    """

    versions: Sequence[int] | None = None
    lease_token: str | None = None
    lease_expired: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)


def change(
    job_id: UUID,
    fields: Mapping[str, Any],
    preconditions: Preconditions,
    action: str,
    provenance: Provenance,
    *,
    must_move: bool = False,
    merges_metadata: bool = True,
    retry: Retry = RETRY,
) -> Representation:
    """Change the job as `queries.change` does and return what it is now.

    A worker that is told of its job's cancellation by this, even by a refusal, has heard of it:
    that is recorded. Raises JobNotFound, VersionMismatch, LeaseLost, TransitionRefused,
    InvalidInput, DocumentTooLarge, DatabaseFailure.
    """
    outcome = queries.change(
        job_id,
        fields,
        action=action,
        provenance=provenance,
        versions=preconditions.versions,
        lease_token=preconditions.lease_token,
        lease_expired=preconditions.lease_expired,
        must_move=must_move,
        merges_metadata=merges_metadata,
        fixed=preconditions.fixed,
        retry=retry,
    )
    if outcome is None:
        raise JobNotFound
    heard = None
    if preconditions.lease_token is not None and outcome.status == Status.CANCELLED:
        hear = partial(lease_queries.record_hearing, job_id, preconditions.lease_token, provenance)
        if outcome.refusal is None:
            heard = hear()
        elif outcome.refusal in TELLING_REFUSALS:
            database.after_end(hear)  # what is refused is mostly rolled back, but it was said
    new_status = fields.get("status") or outcome.status
    if outcome.refusal is not None:
        raise refused(outcome.refusal, outcome, new_status)
    assert outcome.tag is not None
    assert outcome.json is not None
    record(action, str(job_id), outcome.status, new_status, provenance)
    if new_status == Status.PENDING and any(name in fields for name in QUEUE_FIELDS):
        database.after_commit(announce_work)  # it may be due by this, or the next one
    return heard or Representation(job_id, outcome.tag, outcome.json)


def record(
    action: str, job_id: str, old_status: str | None, new_status: str, provenance: Provenance
) -> None:
    """Log a modification once it is committed, and announce it where it changed the status."""
    _log(action, job_id, old_status, new_status, provenance)
    if action == "lease_expired":
        database.after_commit(LEASE_EXPIRIES.inc)
    if new_status != old_status:
        _announce(old_status, new_status, 1)


def record_created(job_ids: Sequence[str], provenance: Provenance) -> None:
    """Log new jobs once they are committed, and announce them together."""
    for job_id in job_ids:
        _log("created", job_id, None, Status.PENDING, provenance)
    _announce(None, Status.PENDING, len(job_ids))


def _log(
    action: str, job_id: str, old_status: str | None, new_status: str, provenance: Provenance
) -> None:
    facts = {
        "job_id": job_id,
        "old_status": old_status,
        "new_status": new_status,
        "actor": provenance.actor.id or provenance.actor.type,
        "request_id": provenance.request_id,
    }
    database.after_commit(partial(log.info, "job %s", action, extra=facts))


def _announce(old_status: str | None, new_status: str, jobs: int) -> None:
    database.after_commit(partial(TRANSITIONS.labels(old_status or "none", new_status).inc, jobs))
    database.after_commit(announce_status_change)
    if new_status == Status.PENDING or old_status == Status.RUNNING:
        database.after_commit(announce_work)
