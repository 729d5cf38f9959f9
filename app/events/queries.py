"""SQL of the event log: the clauses that append an event, and the history of a job.

A statement that changes jobs includes the clauses of `append_event`; a database function calls
append_event_1. So the change and its event are stored together, in one round trip. Each event holds
the hash of the event before it: the events of a job form a chain, which `app.events.audit_queries`
verifies.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.database.page_size import PageRows, fit_page, is_cut
from app.database.tenant_scope import visible_rows
from app.events.models import NO_CUSTOMER
from app.events.provenance import Provenance


def field_changes(fields: Mapping[str, tuple[str, str]]) -> str:
    """Return SQL for the changed fields as jsonb: ``{"field": {"from": …, "to": …}}``.

    Args:
        fields: SQL expressions for the old and the new value of each field, by its name.
    """
    values = ", ".join(
        f"('{name}', to_jsonb({old}), to_jsonb({new}))" for name, (old, new) in fields.items()
    )
    return (
        "(SELECT coalesce("
        "jsonb_object_agg(d.name, jsonb_build_object('from', d.old, 'to', d.new)), '{}')"
        f" FROM (VALUES {values}) AS d (name, old, new)"
        " WHERE d.old IS DISTINCT FROM d.new)"
    )


_EVENT_COLUMNS = (
    "job_id", "seq", "at", "old_status", "new_status", "changes", "stats", "previous_seq",
    "retry_count", "seconds", "error_message",
)  # fmt: skip
_PROVENANCE_COLUMNS = (
    "action", "actor_type", "actor_id", "actor_name", "request_id", "address",
)  # fmt: skip
_HASHED_COLUMNS = (*_EVENT_COLUMNS, *_PROVENANCE_COLUMNS)
COLUMNS = (*_HASHED_COLUMNS, "hash")
"""The columns of job_events."""

NO_HASH = "''::bytea"
"""SQL for the previous hash of a job's first event."""


def event_hash(previous_hash: str, event: str) -> str:
    """Return SQL for the hash of the row `event`.

    It is the SHA-256 digest of `previous_hash` and of all other columns. Each column is written in
    a form that does not depend on settings of the session. The function event_hash_1 does the same.
    """
    exact = {
        "at": f"encode(timestamptz_send({event}.at), 'hex')",
        "seconds": f"encode(float8send({event}.seconds), 'hex')",
        "stats": f"{event}.stats::text",  # distinguishes SQL NULL from the JSON value null
    }
    columns = [exact.get(name, f"{event}.{name}") for name in _HASHED_COLUMNS]
    content = f"jsonb_build_array({', '.join(columns)})::text"
    return f"sha256({previous_hash} || convert_to({content}, 'UTF8'))"


def append_event(
    source: str,
    *,
    job_id: str,
    seq: str,
    at: str,
    old_status: str,
    new_status: str,
    changes: str = "'{}'::jsonb",
    stats: str = "NULL::jsonb",
    previous_seq: str = "NULL::bigint",
    retry_count: str = "NULL::int",
    seconds: str = "NULL::float8",
    error_message: str = "NULL::text",
    previous_hash: str = NO_HASH,
) -> str:
    """Return the clauses ``event_values``, ``event`` and ``appended`` of a statement.

    They insert one event into job_events for each row of `source`. The statement has to store the
    ``hash`` of its ``event`` in the job's column chain, and takes `provenance_parameters`.

    Args:
        source: The FROM clause, with WHERE where needed, that gives the values of the events.
        job_id: SQL for the column of this name in job_events. So are all arguments up to
            `error_message`.
        previous_hash: SQL for the hash of the job's event before this one. The new event is the
            row ``v``.
    """
    values = {
        "job_id": job_id,
        "seq": seq,
        "at": at,
        "old_status": old_status,
        "new_status": new_status,
        "changes": changes,
        "stats": stats,
        "previous_seq": previous_seq,
        "retry_count": retry_count,
        "seconds": seconds,
        "error_message": error_message,
        **{name: f"%({name})s::text" for name in _PROVENANCE_COLUMNS},
    }
    columns = ", ".join(f"{value} AS {name}" for name, value in values.items())
    return f"""event_values AS MATERIALIZED (
        SELECT {columns} {source}
    ), event AS MATERIALIZED (
        SELECT v.*, {event_hash(previous_hash, "v")} AS hash FROM event_values v
    ), appended AS (
        INSERT INTO job_events ({", ".join(COLUMNS)}) SELECT {", ".join(COLUMNS)} FROM event
    )"""


def enqueue_for_webhooks() -> str:
    """Return the clause ``for_webhooks``: the status changes of the rows ``job`` to the outbox."""
    return f"""for_webhooks AS (
        INSERT INTO outbox (job_id, seq, created_at, customer)
        SELECT job.id, job.version, job.updated_at,
            coalesce(job.customer_config_id, '{NO_CUSTOMER}') FROM job
    )"""


def enqueue_for_statistics() -> str:
    """Return the clause ``for_statistics``: the status changes of the rows ``job``, uncounted."""
    return """for_statistics AS (
        INSERT INTO uncounted_events (job_id, seq) SELECT job.id, job.version FROM job
    )"""


def provenance_parameters(action: str, provenance: Provenance) -> dict[str, Any]:
    """Return the parameters of every statement that includes the clauses of `append_event`."""
    return {
        "action": action,
        "actor_type": provenance.actor.type,
        "actor_id": provenance.actor.id,
        "actor_name": provenance.actor.name,
        "request_id": provenance.request_id,
        "address": provenance.address,
    }


def provenance_document(action: str, provenance: Provenance) -> str:
    """Return the argument `p_provenance` of the functions that append an event."""
    return json.dumps(provenance_parameters(action, provenance), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event of a history: its JSON text, and its position, after which a next page can start."""

    json: str
    position: tuple[int]


HISTORY = Statement(
    "history",
    promise="At most `limit` events of one job after number `after`, oldest first, by the primary"
    " key. Fewer if they exceed the size of a page: then each row has the number of all"
    " that were found.",
    sql=fit_page(
        f"""SELECT e.seq, (SELECT row_to_json(r)::text FROM (SELECT
            e.seq AS id, {timestamp("e.at")} AS at,
            (SELECT row_to_json(a) FROM (
                SELECT e.actor_type AS type, e.actor_id AS id, e.actor_name AS name) AS a) AS actor,
            e.request_id, e.action, e.old_status, e.new_status, e.changes) AS r) AS json
        FROM job_events e
        WHERE e.job_id = %(job_id)s::uuid AND e.seq > %(after)s::bigint
            AND EXISTS (SELECT FROM scrape_jobs j WHERE j.id = e.job_id AND {visible_rows("j")})
        ORDER BY e.seq LIMIT %(limit)s::int""",
        "seq",
    ),
)


def history(job_id: UUID, after: int, limit: int) -> PageRows[RecordedEvent]:
    """Return the job's events after number `after`, oldest first.

    Returns:
        At most `limit` events. Fewer if they exceed the size of a page.
    """
    rows = database.run(HISTORY, {"job_id": str(job_id), "after": after, "limit": limit})
    return PageRows([RecordedEvent(text, (seq,)) for seq, text, *_ in rows], is_cut(rows))
