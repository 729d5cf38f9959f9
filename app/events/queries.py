"""The log's SQL: the clause that appends to it, and the statement that reads a job's history."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.database.page_size import Fitting, fitting, is_cut
from app.database.tenant_scope import visible_rows
from app.events.models import NO_CUSTOMER
from app.events.provenance import Provenance

LARGE_VALUE = 1024
"""Bytes past which a document's value is recorded by its size and digest instead of itself."""


def changes(
    fields: Mapping[str, tuple[str, str]], documents: Mapping[str, tuple[str, str]], keep_whole: str
) -> str:
    """Return SQL for the jsonb of what differs: ``{"field": {"from": …, "to": …}}``.

    `fields` and `documents` name pairs of SQL expressions (old, new); of a document each top-level
    key counts as a field of its own. A document's value past LARGE_VALUE is folded into its size
    and digest, except an old one where the SQL condition `keep_whole` holds: there the log is the
    only place left that has it.
    """
    scalars = ", ".join(
        f"('{name}', to_jsonb({old}), to_jsonb({new}))" for name, (old, new) in fields.items()
    )
    parts = [f"SELECT f.name, f.old, f.new FROM (VALUES {scalars}) AS f (name, old, new)"] + [
        f"SELECT '{name}.' || key, {_folded('o.value', keep_whole)}, {_folded('n.value', 'false')}"
        f" FROM jsonb_each({old}) o FULL JOIN jsonb_each({new}) n USING (key) WHERE o.value IS DISTINCT FROM n.value"
        for name, (old, new) in documents.items()
    ]
    return (
        "(SELECT coalesce(jsonb_object_agg(d.name, jsonb_build_object('from', d.old, 'to', d.new)), '{}')"
        f" FROM ({' UNION ALL '.join(parts)}) AS d (name, old, new) WHERE d.old IS DISTINCT FROM d.new)"
    )


def _folded(value: str, keep_whole: str) -> str:
    return (
        f"CASE WHEN octet_length({value}::text) > {LARGE_VALUE} AND NOT {keep_whole}"
        f" THEN jsonb_build_object('bytes', octet_length({value}::text),"
        f" 'sha256', encode(sha256(convert_to({value}::text, 'UTF8')), 'hex')) ELSE {value} END"
    )


_FACTS = (
    "job_id", "seq", "at", "old_status", "new_status", "changes", "stats", "previous_seq", "retry_count", "seconds",
    "error_message",
)  # fmt: skip
_PROVENANCE = ("action", "actor_type", "actor_id", "actor_name", "request_id", "address")
COLUMNS = (*_FACTS, *_PROVENANCE, "hash")

NO_HASH = "''::bytea"
"""SQL for what comes before a job's first event."""


def event_hash(previous: str, event: str) -> str:
    """Return SQL for the hash of an `event` that follows one with the hash `previous`.

    It is SHA-256 of the previous hash and of every other column, each in a form that no setting of
    a session changes.
    """
    exact = {
        "at": f"encode(timestamptz_send({event}.at), 'hex')",
        "seconds": f"encode(float8send({event}.seconds), 'hex')",
        "stats": f"{event}.stats::text",  # that there are none is one thing, that they are null another
    }
    columns = [exact.get(name, f"{event}.{name}") for name in (*_FACTS, *_PROVENANCE)]
    content = f"jsonb_build_array({', '.join(columns)})::text"
    return f"sha256({previous} || convert_to({content}, 'UTF8'))"


def happened(select: str, previous: str = NO_HASH) -> str:
    """Return the clauses ``fact`` and ``event`` of a statement that changes jobs.

    `select` gives job_id, seq, at, old_status, new_status, changes, stats, previous_seq,
    retry_count, seconds and error_message, in this order, FROM and WHERE included; the rest are the
    parameters of `provenance`. `previous` is SQL for the hash of the job's last event, to which
    each row ``f`` of ``fact`` is chained; the job takes the ``hash`` of its ``event``.
    """
    provenance = ", ".join(f"%({name})s::text AS {name}" for name in _PROVENANCE)
    return f"""fact AS MATERIALIZED (
        SELECT e.*, {provenance} FROM ({select}) AS e ({", ".join(_FACTS)})
    ), event AS MATERIALIZED (SELECT f.*, {event_hash(previous, "f")} AS hash FROM fact f)"""


APPEND = f"INSERT INTO job_events ({', '.join(COLUMNS)}) SELECT {', '.join(COLUMNS)} FROM event"
"""The INSERT of what ``event`` holds."""


def owe(select: str) -> str:
    """Return the INSERT of the status changes that webhooks are to tell of.

    `select` gives job_id, seq, the time and the job's customer_config_id.
    """
    return f"""INSERT INTO outbox (job_id, seq, created_at, customer)
        SELECT c.job_id, c.seq, c.at, coalesce(c.customer, '{NO_CUSTOMER}')
        FROM ({select}) AS c (job_id, seq, at, customer)"""


def leave_uncounted(select: str) -> str:
    """Return the INSERT of the status changes that statistics are to count; `select` gives job_id
    and seq."""
    return f"INSERT INTO uncounted_events (job_id, seq) {select}"


def provenance_parameters(action: str, provenance: Provenance) -> dict[str, Any]:
    """Return the parameters that every statement with the clauses of `happened` takes."""
    return {
        "action": action,
        "actor_type": provenance.actor.type,
        "actor_id": provenance.actor.id,
        "actor_name": provenance.actor.name,
        "request_id": provenance.request_id,
        "address": provenance.address,
    }


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as the history shows it: its JSON, and its position, where the next page may
    start."""

    json: str
    position: tuple[int]


HISTORY = Statement(
    "history",
    # Promises: at most `limit` events of one job, oldest first, from after `after` on, by the
    # primary key; fewer where they would not fit a page, and then how many there are.
    fitting(
        f"""SELECT e.seq, (SELECT row_to_json(r)::text FROM (SELECT
            e.seq AS id, {timestamp("e.at")} AS at,
            (SELECT row_to_json(a) FROM
                (SELECT e.actor_type AS type, e.actor_id AS id, e.actor_name AS name) AS a) AS actor,
            e.request_id, e.action, e.old_status, e.new_status, e.changes) AS r) AS json
        FROM job_events e
        WHERE e.job_id = %(job_id)s::uuid AND e.seq > %(after)s::bigint
            AND EXISTS (SELECT FROM scrape_jobs j WHERE j.id = e.job_id AND {visible_rows("j")})
        ORDER BY e.seq LIMIT %(limit)s::int""",
        "seq",
    ),
)


def history(job_id: UUID, after: int, limit: int) -> Fitting[RecordedEvent]:
    """Return at most `limit` events of the job that follow number `after`, oldest first, as many as
    fit a page."""
    rows = database.run(HISTORY, {"job_id": str(job_id), "after": after, "limit": limit})
    return Fitting([RecordedEvent(text, (seq,)) for seq, text, *_ in rows], is_cut(rows))
