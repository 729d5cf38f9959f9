"""SQL that changes one job: one guarded statement locks, checks and changes it, in one round trip.

The statement works in steps: ``cur`` locks the row, ``compared`` compares fields, ``new`` computes
the new row, ``checked`` names the first reason to refuse the change, and only if there is none are
the event appended and the job updated.
"""

from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Parameters, Statement, timestamp
from app.database.tenant_scope import visible_rows
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.change_columns import NEW_VALUES, sql_array
from app.jobs.change_request import Change
from app.jobs.comparisons import DIFFERS, QUEUE_FIELDS
from app.jobs.documents import MAX_DOCUMENT_BYTES, document_text
from app.jobs.refusals import Refusal, RefusedChange
from app.jobs.representation import Representation, job_json, tag
from app.jobs.states import FINAL, QUEUEABLE, Status, sources

_NOT_COMPARED = """NOT MATERIALIZED (
        SELECT NULL::text[] AS fixed_fields, NULL::text[] AS queue_fields,
            NULL::jsonb AS queue_values
    )"""
"""The clause ``compared`` of a change without fixed fields and QUEUE_FIELDS. The planner removes
everything that depends on its nulls."""

_COMPARED = f"""MATERIALIZED (
        SELECT array_agg(given.key) FILTER (WHERE %(fixed_fields)s::jsonb ? given.key)
                AS fixed_fields,
            array_agg(given.key) FILTER (WHERE %(queue_fields)s::jsonb ? given.key)
                AS queue_fields,
            %(queue_fields)s::jsonb AS queue_values
        FROM cur, jsonb_each(%(fixed_fields)s::jsonb || %(queue_fields)s::jsonb) AS given
        WHERE {DIFFERS}
    )"""
"""The clause ``compared`` of a change with fixed fields or QUEUE_FIELDS: the names of those that
have another value in the job than in the request."""

_CHECKS = f"""
            WHEN cur.lease_token IS DISTINCT FROM coalesce(%(lease_token)s::text, cur.lease_token)
                THEN '{Refusal.LEASE}'
            WHEN %(lease_expired)s::bool AND (cur.lease_expires_at < cur.t) IS NOT TRUE
                THEN '{Refusal.LEASE}'
            -- The token of a lease that is over is valid for a retry, and to repeat the report of
            -- the job's end.
            WHEN %(lease_token)s::text IS NOT NULL AND cur.lease_seconds IS NULL
                AND NOT %(must_change_status)s::bool
                AND (cur.status = '{Status.CANCELLED}'
                    OR %(status)s::text IS DISTINCT FROM cur.status
                    OR compared.queue_fields IS NOT NULL)
                THEN '{Refusal.LEASE}'
            WHEN NOT cur.version = ANY(%(versions)s::bigint[]) THEN '{Refusal.VERSION}'
            WHEN NOT cur.changes_status AND %(must_change_status)s::bool
                THEN '{Refusal.TRANSITION}'
            WHEN cur.changes_status AND NOT cur.status = ANY(%(entered_from)s::text[])
                THEN '{Refusal.TRANSITION}'
            WHEN cur.is_retry AND %(counts_retry)s::bool
                AND CASE WHEN %(resets_retries)s::bool THEN 0 ELSE cur.retry_count END
                    >= new.max_retries
                THEN '{Refusal.RETRIES}'
            WHEN compared.fixed_fields IS NOT NULL
                THEN '{Refusal.FIXED_FIELDS} ' || array_to_string(compared.fixed_fields, ' ')
            WHEN compared.queue_fields IS NOT NULL
                AND NOT cur.status = ANY({sql_array(QUEUEABLE)})
                THEN '{Refusal.QUEUE_FIELDS} ' || array_to_string(compared.queue_fields, ' ')
            WHEN new.status = ANY({sql_array(FINAL)}) AND new.completed_at IS NULL
                THEN '{Refusal.COMPLETED_AT}'
            WHEN new.status <> '{Status.PENDING}' AND new.scheduled_for IS NOT NULL
                THEN '{Refusal.SCHEDULED_FOR}'
            WHEN %(sets_stats)s::bool AND octet_length(new.stats::text) > {MAX_DOCUMENT_BYTES}
                THEN '{Refusal.STATS}'
            WHEN %(metadata)s::jsonb IS NOT NULL
                AND octet_length(new.metadata::text) > {MAX_DOCUMENT_BYTES}
                THEN '{Refusal.METADATA}'
            WHEN 'config' = ANY(compared.queue_fields)
                AND octet_length(new.config::text) > {MAX_DOCUMENT_BYTES}
                THEN '{Refusal.CONFIG}'"""

_USUAL_CHANGES = events.field_changes(
    {
        "error_message": ("cur.error_message", "new.error_message"),
        "retry_count": ("cur.retry_count", "new.retry_count"),
        "started_at": (timestamp("cur.started_at"), timestamp("new.started_at")),
        "completed_at": (timestamp("cur.completed_at"), timestamp("new.completed_at")),
        "scheduled_for": (timestamp("cur.scheduled_for"), timestamp("new.scheduled_for")),
        "worker_id": ("cur.worker_id", "new.worker_id"),
    },
    {"stats": ("cur.stats", "new.stats"), "metadata": ("cur.metadata", "new.metadata")},
    keep_whole="cur.is_retry",
)

_QUEUE_CHANGES = events.field_changes(
    {name: (f"cur.{name}", f"new.{name}") for name in ("priority", "max_retries")},
    {"config": ("cur.config", "new.config")},
    keep_whole="false",
)

_APPEND_CHANGED = events.append_event(
    "FROM cur, compared, new, checked WHERE checked.refusal IS NULL",
    job_id="cur.id",
    seq="cur.version + 1",
    at="cur.t",
    old_status="cur.status",
    new_status="new.status",
    changes=f"""{_USUAL_CHANGES}
            || CASE WHEN compared.queue_fields IS NULL THEN '{{}}' ELSE {_QUEUE_CHANGES} END""",
    stats="CASE WHEN cur.changes_status THEN new.stats END",
    previous_seq="CASE WHEN cur.changes_status THEN cur.status_seq END",
    retry_count="CASE WHEN cur.changes_status THEN new.retry_count END",
    # How long the attempt took that ends with this event. A completed_at before started_at, which
    # a client may set, counts as 0.
    seconds=f"""CASE WHEN cur.changes_status AND cur.status = '{Status.RUNNING}'
                    AND new.completed_at >= new.started_at
                THEN extract(epoch FROM new.completed_at - new.started_at)::float8
            WHEN cur.changes_status AND cur.status = '{Status.RUNNING}'
                    AND new.completed_at < new.started_at
                THEN 0 END""",
    error_message=f"""CASE WHEN cur.changes_status AND new.status = '{Status.FAILED}'
                THEN new.error_message END""",
    previous_hash="(SELECT cur.chain FROM cur)",
)

_NEW_ROW = ",\n            ".join(f"{value} AS {name}" for name, value in NEW_VALUES.items())
_ASSIGNMENTS = ", ".join(f"{name} = new.{name}" for name in NEW_VALUES)
_IF_STATUS_CHANGED = "FROM cur, job WHERE cur.changes_status"


def _change(compared: str) -> str:
    """Return the SQL of a change, with the body `compared` of the clause of that name.

    It reads the time once, after the row is locked, because now() is the time before the wait for
    the lock. The time never goes back behind the job's last change.
    """
    return f"""
    WITH cur AS MATERIALIZED (
        SELECT j.*, greatest(now(), j.updated_at) AS t,
            coalesce(%(status)s::text, j.status) AS new_status,
            coalesce(%(status)s::text, j.status) <> j.status AS changes_status,
            coalesce(%(status)s::text, j.status) <> j.status
                AND %(status)s::text = '{Status.PENDING}' AS is_retry
        FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows("j")} FOR NO KEY UPDATE
    ), compared AS {compared}, new AS MATERIALIZED (
        SELECT {_NEW_ROW}
        FROM cur, compared
    ), checked AS MATERIALIZED (
        SELECT CASE {_CHECKS}
        END AS refusal, new.max_retries
        FROM cur, compared, new
    ), {_APPEND_CHANGED}, job AS (
        UPDATE scrape_jobs j SET
            {_ASSIGNMENTS},
            updated_at = cur.t, version = cur.version + 1, chain = event.hash,
            status_seq = CASE WHEN cur.changes_status THEN cur.version + 1 ELSE cur.status_seq END
        FROM cur, new, event
        WHERE j.id = cur.id AND j.id = %(id)s::uuid
        RETURNING j.*
    ), {events.enqueue_for_webhooks(_IF_STATUS_CHANGED)},
    {events.enqueue_for_statistics(_IF_STATUS_CHANGED)}
    SELECT cur.status, cur.retry_count, checked.max_retries, checked.refusal,
        {tag("job")}, {job_json("job")}
    FROM cur CROSS JOIN checked LEFT JOIN job ON job.id = cur.id
    """


CHANGE = Statement(
    "change_job",
    promise="The job's row is locked, checked as it is then, and changed together with its event."
    " If the status changes, the outbox and uncounted_events get a row each. Or nothing is"
    " changed, and the first refusal is named. No row: the job does not exist. The rules"
    " come as parameters. A value that the job already has counts as not given. Only the"
    " status, metadata and the fields of _PARAMETER_FIELDS are changed.",
    sql=_change(_NOT_COMPARED),
)

CHANGE_COMPARED = Statement(
    "change_compared_job",
    promise="The same as change_job. It also changes QUEUE_FIELDS. It also refuses the change if a"
    " fixed field has another value than the request gives, or if QUEUE_FIELDS would change"
    " while the job is not queueable.",
    sql=_change(_COMPARED),
)


class AppliedChange(NamedTuple):
    """A change that was made: the job's status before it, and the job as it is now."""

    old_status: Status
    job: Representation


_PARAMETER_FIELDS = ("error_message", "stats", "retry_count", "started_at", "completed_at")
"""The fields that a request gives as parameters of their own."""


def apply(
    job_id: UUID, change: Change, provenance: Provenance
) -> AppliedChange | RefusedChange | None:
    """Change the job if it allows the change. Return None if it does not exist."""
    queue_fields = {
        name: change.fields[name]
        for name in (*QUEUE_FIELDS, "max_concurrent")
        if name in change.fields
    }
    is_compared = change.preconditions.fixed_fields or queue_fields
    rows = database.run(
        CHANGE_COMPARED if is_compared else CHANGE,
        {
            **_parameters(job_id, change),
            "fixed_fields": document_text(change.preconditions.fixed_fields),
            "queue_fields": document_text(queue_fields),
            **events.provenance_parameters(change.action, provenance),
        },
    )
    if not rows:
        return None
    status, retry_count, max_retries, refusal, new_tag, new_json = rows[0]
    if refusal is None:
        return AppliedChange(Status(status), Representation(job_id, new_tag, new_json))
    reason, *names = refusal.split()
    new_status = change.status or Status(status)
    return RefusedChange(
        Refusal(reason), names, Status(status), new_status, retry_count, max_retries
    )


def _parameters(job_id: UUID, change: Change) -> Parameters:
    fields, preconditions, retry = change.fields, change.preconditions, change.retry
    documents: dict[str, Any] = {
        name: document_text(fields[name]) if name in fields else None
        for name in ("stats", "metadata")
    }
    return {
        "id": str(job_id),
        "status": change.status,
        "entered_from": [str(source) for source in sources(change.status)] if change.status else [],
        **{f"sets_{field}": field in fields for field in _PARAMETER_FIELDS},
        **{field: fields.get(field) for field in _PARAMETER_FIELDS},
        **documents,
        "merges_metadata": change.merges_metadata and "metadata" in fields,
        "versions": preconditions.versions,
        "lease_token": preconditions.lease_token,
        "lease_expired": preconditions.lease_expired,
        "must_change_status": change.must_change_status,
        "delay_seconds": retry.delay_seconds,
        "counts_retry": retry.counts,
        "resets_retries": retry.resets,
    }
