"""SQL that compares the values of a request with the values that the job shows.

The job's row is called ``cur``. A value that the job already has counts as not given.
"""

from app.database import timestamp

QUEUE_FIELDS = ("priority", "max_retries", "config", "scheduled_for")
"""The fields that decide when a pending job is claimed. `config` holds maxConcurrent."""

_CREATED_AT = timestamp("cur.created_at")
_UPDATED_AT = timestamp("cur.updated_at")
_LEASE_EXPIRES_AT = timestamp("cur.lease_expires_at")


def _if_between(first: str, last: str) -> str:
    """Return SQL for the request's value if it is a time from `first` to `last`, else null."""
    text = """(given.value #>> '{}') COLLATE "C\""""
    return f"CASE WHEN {text} BETWEEN {first} AND {last} THEN given.value END"


# A client may send back a job that it read a while ago. The service itself changes updated_at,
# allowed_transitions and lease_expires_at in the meantime. So every value of these counts as equal
# that the job may have shown since it was created.
_SHOWN_VALUES = {
    "id": "to_jsonb(cur.id)",
    "domain_id": "to_jsonb(cur.domain_id)",
    "customer_config_id": "to_jsonb(cur.customer_config_id)",
    "domain": "to_jsonb(cur.domain)",
    "job_type": "to_jsonb(cur.job_type)",
    "priority": "to_jsonb(cur.priority)",
    "max_retries": "to_jsonb(cur.max_retries)",
    "config": "cur.config",
    "max_concurrent": "given.value",  # a part of config, which is compared as a whole
    "created_at": f"to_jsonb({_CREATED_AT})",
    "updated_at": _if_between(_CREATED_AT, _UPDATED_AT),
    "scheduled_for": f"to_jsonb({timestamp('cur.scheduled_for')})",
    "allowed_transitions": "CASE jsonb_typeof(given.value) WHEN 'array' THEN given.value END",
    "lease_expires_at": "CASE WHEN cur.lease_token IS NOT NULL THEN "
    + _if_between(_CREATED_AT, f"coalesce({_LEASE_EXPIRES_AT}, '9999')")
    + " END",
    "worker_id": "to_jsonb(cur.worker_id)",
}

COMPARED_FIELDS = tuple(_SHOWN_VALUES)
"""The fields that can be compared, in the order in which a job shows them."""

DIFFERS = (
    "given.value <> coalesce(CASE given.key"
    + "".join(f" WHEN '{name}' THEN {value}" for name, value in _SHOWN_VALUES.items())
    + " END, 'null')"
)
"""SQL for whether the job's field `given.key` has another value than the JSON `given.value`.

The request's value has the form in which the job shows it. The JSON value false stands for a value
that no job can have.
"""


def same_time(field: str) -> str:
    """Return SQL for whether the parameter `field` is the time that the job shows in that field."""
    return (
        f"date_trunc('milliseconds', %({field})s::timestamptz)"
        f" IS NOT DISTINCT FROM date_trunc('milliseconds', cur.{field})"
    )
