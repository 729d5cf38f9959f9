"""SQL that compares a request's values with those that the job shows.

The job's row is called ``cur``. A value that the job has already counts as absent.
"""

from app.database import timestamp

QUEUE_FIELDS = ("priority", "max_retries", "config", "scheduled_for")
"""The fields that decide when a job that waits is taken: config holds maxConcurrent."""

_CREATED_AT = timestamp("cur.created_at")
_UPDATED_AT = timestamp("cur.updated_at")
_LEASE_EXPIRES_AT = timestamp("cur.lease_expires_at")


def _between(first: str, last: str) -> str:
    """Return SQL for the request's value where it is a time between two others, else null."""
    text = """(given.value #>> '{}') COLLATE "C\""""
    return f"CASE WHEN {text} BETWEEN {first} AND {last} THEN given.value END"


# The service moves updated_at, allowed_transitions and lease_expires_at by itself. A client sends
# back what it read a while ago, so of these every value counts as equal that the job may have shown
# since.
_SHOWN = {
    "id": "to_jsonb(cur.id)",
    "domain_id": "to_jsonb(cur.domain_id)",
    "customer_config_id": "to_jsonb(cur.customer_config_id)",
    "domain": "to_jsonb(cur.domain)",
    "job_type": "to_jsonb(cur.job_type)",
    "priority": "to_jsonb(cur.priority)",
    "max_retries": "to_jsonb(cur.max_retries)",
    "config": "cur.config",
    "max_concurrent": "given.value",  # it is a part of config, which is compared
    "created_at": f"to_jsonb({_CREATED_AT})",
    "updated_at": _between(_CREATED_AT, _UPDATED_AT),
    "scheduled_for": f"to_jsonb({timestamp('cur.scheduled_for')})",
    "allowed_transitions": "CASE jsonb_typeof(given.value) WHEN 'array' THEN given.value END",
    "lease_expires_at": "CASE WHEN cur.lease_token IS NOT NULL THEN "
    + _between(_CREATED_AT, f"coalesce({_LEASE_EXPIRES_AT}, '9999')")
    + " END",
    "worker_id": "to_jsonb(cur.worker_id)",
}

COMPARED_FIELDS = tuple(_SHOWN)
"""The fields that can be compared, in the order in which a job shows them."""

DIFFERS = (
    "given.value <> coalesce(CASE given.key"
    + "".join(f" WHEN '{name}' THEN {value}" for name, value in _SHOWN.items())
    + " END, 'null')"
)
"""SQL for whether the job has another value in the field `given.key` than the JSON `given.value`.

A request's value comes in the form in which the job shows it; false stands for one that no job can
have.
"""


def same_time(field: str) -> str:
    """Return SQL for whether the request's parameter `field` is the time that the job shows
    there."""
    return (
        f"date_trunc('milliseconds', %({field})s::timestamptz)"
        f" IS NOT DISTINCT FROM date_trunc('milliseconds', cur.{field})"
    )
