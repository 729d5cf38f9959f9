"""The call of the database function that changes one job: locks, checks and changes it.

The function is one round trip. It receives the rules of `app.jobs.states` and names the first
reason to refuse the change; the file `sql/change_job_1.sql` describes its arguments.
"""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, array
from app.database.tenant_scope import PARAMETER
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.change_request import Change
from app.jobs.comparisons import QUEUE_FIELDS
from app.jobs.documents import MAX_DOCUMENT_BYTES, document_text
from app.jobs.refusals import Refusal, RefusedChange
from app.jobs.representation import FOLLOWING, Representation
from app.jobs.states import ENDED, FINAL, QUEUEABLE, Status, sources

CHANGE = Statement(
    "change_job",
    promise="The result of the function change_job_1: the job is changed together with its event,"
    " or the first refusal is named.",
    sql=f"""
    SELECT * FROM change_job_1(
        %(id)s, %({PARAMETER})s, %(request)s, %(entered_from)s, %(versions)s, %(lease_token)s,
        %(provenance)s, %(rules)s)
    """,
)

_RULES = document_text(
    {
        "final": FINAL,
        "ended": ENDED,
        "queueable": QUEUEABLE,
        "following": FOLLOWING,
        "max_document_bytes": MAX_DOCUMENT_BYTES,
    }
)
_ENTERED_FROM = {status: array(sources(status)) for status in Status}

_QUEUE_FIELDS = frozenset({*QUEUE_FIELDS, "max_concurrent"})


class AppliedChange(NamedTuple):
    """A change that was made: the job's status before it, and the job as it is now."""

    old_status: Status
    job: Representation


def apply(
    job_id: UUID, change: Change, provenance: Provenance
) -> AppliedChange | RefusedChange | None:
    """Change the job if it allows the change. Return None if it does not exist."""
    preconditions = change.preconditions
    new_status = change.status
    ((status, retry_count, max_retries, refusal, new_tag, new_json),) = database.run(
        CHANGE,
        {
            "id": str(job_id),
            "request": document_text(_request(change)),
            "entered_from": _ENTERED_FROM[new_status] if new_status else None,
            "versions": preconditions.versions,
            "lease_token": preconditions.lease_token,
            "provenance": events.provenance_document(change.action, provenance),
            "rules": _RULES,
        },
    )
    if status is None:
        return None
    if refusal is None:
        return AppliedChange(Status(status), Representation(job_id, new_tag, new_json))
    reason, *names = refusal.split()
    return RefusedChange(
        Refusal(reason),
        names,
        Status(status),
        new_status or Status(status),
        retry_count,
        max_retries,
    )


def _request(change: Change) -> dict[str, Any]:
    """Return the argument `p_request` of the function. A flag that is not set is left out."""
    preconditions, retry = change.preconditions, change.retry
    request: dict[str, Any] = {}
    queue_fields: dict[str, Any] = {}
    for name, value in change.fields.items():
        fields = queue_fields if name in _QUEUE_FIELDS else request
        fields[name] = value.isoformat() if isinstance(value, datetime) else value
    flags = {
        "replaces_metadata": not change.merges_metadata,
        "must_change_status": change.must_change_status,
        "lease_expired": preconditions.lease_expired,
        "is_uncounted": not retry.counts,
        "resets_retries": retry.resets,
    }
    request.update((name, True) for name, is_set in flags.items() if is_set)
    if queue_fields:
        request["queue_fields"] = queue_fields
    if preconditions.fixed_fields:
        request["fixed_fields"] = preconditions.fixed_fields
    if retry.delay_seconds is not None:
        request["delay_seconds"] = retry.delay_seconds
    return request
