"""SQL for the new value of each column that a change of a job can modify.

The expressions belong to the clause ``new`` of `app.jobs.change_queries`. They read the locked row
``cur``, which has three columns more than the job: `new_status`, `changes_status` and `is_retry`
(the change makes a failed job pending again). `t` is the time of the change. The row ``compared``
has the names of the changed QUEUE_FIELDS in `queue_fields`, and their values in `queue_values`.
"""

from collections.abc import Sequence

from app.jobs.comparisons import same_time
from app.jobs.models import MAX_INTEGER
from app.jobs.states import ENDED, FINAL, Status


def sql_array(values: Sequence[str]) -> str:
    """Return SQL for an array of these texts, which must be constants."""
    return f"ARRAY[{', '.join(repr(str(value)) for value in values)}]"


def _requested(field: str, sql_type: str, *, ignored_if: str, otherwise: str) -> str:
    """Return SQL for the requested value of a field, or its default where the request gives none.

    Args:
        field: The name of the column, of its parameter, and in ``sets_<field>`` of the parameter
            that says whether the request gives the field.
        sql_type: The type of the column.
        ignored_if: SQL condition under which a requested value counts as not given.
        otherwise: The rest of a CASE, for the value where none is given.
    """
    is_given = f"%(sets_{field})s::bool AND ({ignored_if}) IS NOT TRUE"
    return f"CASE WHEN {is_given} THEN %({field})s::{sql_type} {otherwise} END"


def _queue_field(field: str, value: str, otherwise: str) -> str:
    """Return SQL for `value` if the change gives one of QUEUE_FIELDS another value, or the default.

    Args:
        field: The field, as in QUEUE_FIELDS.
        value: SQL for the requested value.
        otherwise: SQL for the value where the field does not change.
    """
    return f"CASE WHEN '{field}' = ANY(compared.queue_fields) THEN {value} ELSE {otherwise} END"


def _null_if(condition: str, column: str) -> str:
    """Return SQL for null if the condition is true, and for the column's old value otherwise."""
    return f"CASE WHEN {condition} THEN NULL ELSE {column} END"


# The next three conditions apply only to a retry. It clears (or counts) each field that the
# request does not give, and a value that the job already has counts as not given. Only the retry
# endpoint sets must_change_status together with an error message, which the job then keeps.
_SAME_MESSAGE = """is_retry AND NOT %(must_change_status)s::bool
                AND %(error_message)s::text IS NOT DISTINCT FROM error_message"""
_SAME_STATS = "is_retry AND %(stats)s::jsonb = stats"
_SAME_COUNT = "is_retry AND %(retry_count)s::int = cur.retry_count"

# A worker may repeat its last report if the response got lost, with the completed_at that it read
# before the first report: null.
_SAME_END = f"""{same_time("completed_at")}
                OR NOT changes_status AND %(status)s::text = ANY({sql_array(FINAL)})
                    AND %(completed_at)s::timestamptz IS NULL"""

# A retry_count of MAX_INTEGER is not increased: such a retry is refused, but PostgreSQL computes
# the new row before it checks the change.
_RETRY_COUNT = f"""WHEN is_retry AND %(resets_retries)s::bool THEN 0
                WHEN is_retry AND %(counts_retry)s::bool
                    THEN least(cur.retry_count, {MAX_INTEGER - 1}) + 1
                ELSE cur.retry_count"""

_STARTED_AT = f"""WHEN changes_status AND new_status = '{Status.RUNNING}' THEN t
                WHEN is_retry THEN NULL ELSE started_at"""

_COMPLETED_AT = f"""WHEN changes_status AND new_status = ANY({sql_array(ENDED)}) THEN t
                WHEN is_retry THEN NULL ELSE completed_at"""

_SCHEDULED_FOR = """CASE WHEN is_retry THEN t + make_interval(secs => %(delay_seconds)s::float8)
                WHEN changes_status THEN NULL ELSE scheduled_for END"""

_MAX_CONCURRENT = """CASE WHEN compared.queue_values ? 'max_concurrent'
                THEN (compared.queue_values ->> 'max_concurrent')::int ELSE max_concurrent END"""

_METADATA = """CASE WHEN %(merges_metadata)s::bool THEN metadata || %(metadata)s::jsonb
                ELSE coalesce(%(metadata)s::jsonb, metadata) END"""

# The length of a lease outlives a cancellation, so that the worker can send one last report.
_LEASE_SECONDS = f"""CASE WHEN changes_status AND new_status <> '{Status.CANCELLED}' THEN NULL
                WHEN status = '{Status.CANCELLED}' AND %(lease_token)s::text IS NOT NULL THEN NULL
                ELSE lease_seconds END"""

# A change under the lease's token extends the lease, as a heartbeat does.
_LEASE_EXPIRES_AT = f"""CASE WHEN changes_status THEN NULL
                WHEN %(lease_token)s::text IS NOT NULL AND status = '{Status.RUNNING}'
                    THEN t + make_interval(secs => lease_seconds)
                ELSE lease_expires_at END"""

NEW_VALUES = {
    "status": "cur.new_status",
    "error_message": _requested(
        "error_message",
        "text",
        ignored_if=_SAME_MESSAGE,
        otherwise="WHEN is_retry THEN NULL ELSE error_message",
    ),
    "stats": _requested(
        "stats", "jsonb", ignored_if=_SAME_STATS, otherwise="WHEN is_retry THEN '{}' ELSE stats"
    ),
    "retry_count": _requested("retry_count", "int", ignored_if=_SAME_COUNT, otherwise=_RETRY_COUNT),
    "started_at": _requested(
        "started_at", "timestamptz", ignored_if=same_time("started_at"), otherwise=_STARTED_AT
    ),
    "completed_at": _requested(
        "completed_at", "timestamptz", ignored_if=_SAME_END, otherwise=_COMPLETED_AT
    ),
    "priority": _queue_field(
        "priority", "(compared.queue_values ->> 'priority')::int", otherwise="priority"
    ),
    "max_retries": _queue_field(
        "max_retries", "(compared.queue_values ->> 'max_retries')::int", otherwise="max_retries"
    ),
    "config": _queue_field("config", "compared.queue_values -> 'config'", otherwise="config"),
    "max_concurrent": _queue_field("config", _MAX_CONCURRENT, otherwise="max_concurrent"),
    "scheduled_for": _queue_field(
        "scheduled_for",
        "(compared.queue_values ->> 'scheduled_for')::timestamptz",
        otherwise=_SCHEDULED_FOR,
    ),
    "metadata": _METADATA,
    "worker_id": _null_if("is_retry", "worker_id"),
    # The rescue of an expired lease invalidates the token.
    "lease_token": _null_if("is_retry OR %(lease_expired)s::bool", "lease_token"),
    "lease_seconds": _LEASE_SECONDS,
    "lease_expires_at": _LEASE_EXPIRES_AT,
}
"""SQL for the new value of each column, by its name."""
