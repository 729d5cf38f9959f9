"""The JSON form of a job, as every response shows it.

PostgreSQL writes this JSON. The service passes it on without parsing it.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from app.database import timestamp
from app.jobs.states import Status, allowed_transitions, sources

FIELDS = (
    "id", "domain_id", "customer_config_id", "domain", "job_type", "status", "priority",
    "retry_count", "max_retries", "config", "metadata", "started_at", "completed_at",
    "error_message", "stats", "created_at", "updated_at", "scheduled_for", "allowed_transitions",
    "lease_expires_at", "worker_id",
)  # fmt: skip
"""The fields of a job, in the order in which every response shows them."""

_TIMES = frozenset(
    {"started_at", "completed_at", "created_at", "updated_at", "scheduled_for", "lease_expires_at"}
)


class Representation(NamedTuple):
    """A job as the API shows it: its JSON text, and the `tag` of this state of the job."""

    id: UUID
    tag: str
    json: str


def job_json(job: str, fields: Collection[str] = FIELDS) -> str:
    """Return SQL for the JSON text of a job.

    Args:
        job: The name of the job's row in the statement.
        fields: The names of the fields to show, a subset of FIELDS. Their order does not matter.
    """
    items = ", ".join(_item(job, field) for field in FIELDS if field in fields)
    return f"(SELECT row_to_json(r)::text FROM (SELECT {items}) AS r)"  # noqa: S608 - of constants


def _item(job: str, field: str) -> str:
    if field in _TIMES:
        return f"{timestamp(f'{job}.{field}')} AS {field}"
    if field == "allowed_transitions":
        return f"{_allowed_transitions(job)} AS {field}"
    return f"{job}.{field}"


def _allowed_transitions(job: str) -> str:
    """Return SQL for the JSON list of the statuses that may follow, rendered from the rules."""
    without_retries = " ".join(
        f"WHEN {job}.status = '{status}' AND {job}.retry_count >= {job}.max_retries"
        f" THEN '{json.dumps(FOLLOWING[_without_retries(status)])}'::json"
        for status in sources(Status.PENDING)
    )
    others = " ".join(
        f"WHEN {job}.status = '{status}' THEN '{json.dumps(FOLLOWING[status])}'::json"
        for status in Status
    )
    return f"CASE {without_retries} {others} END"


def _without_retries(status: Status) -> str:
    return f"{status} without retries"


FOLLOWING: Mapping[str, Sequence[Status]] = {
    **{status: allowed_transitions(status, retry_count=0, max_retries=1) for status in Status},
    **{
        _without_retries(status): allowed_transitions(status, retry_count=0, max_retries=0)
        for status in sources(Status.PENDING)
    },
}
"""The statuses that may follow each status. The function job_json_1 receives them."""


def tag(job: str) -> str:
    """Return SQL for the entity tag of a job: its version and, during a lease, the lease's end.

    A heartbeat extends the lease without a new version, so the version alone does not
    distinguish all states of a job.
    """
    lease_end = f"floor(extract(epoch FROM {job}.lease_expires_at) * 1000)::bigint"
    return f"concat_ws('-', {job}.version, {lease_end})"
