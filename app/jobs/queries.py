"""The jobs' SQL. PostgreSQL writes the JSON that the API answers with; the service passes it
through unread."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.database.tenant_scope import visible_rows
from app.errors import DocumentTooLarge
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.comparisons import DIFFERS, QUEUE_FIELDS, same_time
from app.jobs.models import MAX_INTEGER
from app.jobs.states import ENDED, FINAL, QUEUEABLE, Status, allowed_transitions, sources

MAX_DOCUMENT = 256 * 1024
"""Bytes that stats, metadata or config may take, as PostgreSQL writes them."""


def _sql_array(values: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(repr(str(value)) for value in values)}]"


def _allowed_transitions(job: str) -> str:
    """Return SQL for the JSON list of statuses that may follow, as the rules have it."""

    def listed(status: Status, *, retries: bool) -> str:
        following = allowed_transitions(status, retry_count=0, max_retries=1 if retries else 0)
        return f"'{json.dumps(following)}'::json"

    exhausted = " ".join(
        f"WHEN {job}.status = '{status}' AND {job}.retry_count >= {job}.max_retries"
        f" THEN {listed(status, retries=False)}"
        for status in sources(Status.PENDING)
    )
    others = " ".join(
        f"WHEN {job}.status = '{status}' THEN {listed(status, retries=True)}" for status in Status
    )
    return f"CASE {exhausted} {others} END"


FIELDS = (
    "id", "domain_id", "customer_config_id", "domain", "job_type", "status", "priority", "retry_count", "max_retries",
    "config", "metadata", "started_at", "completed_at", "error_message", "stats", "created_at", "updated_at",
    "scheduled_for", "allowed_transitions", "lease_expires_at", "worker_id",
)  # fmt: skip
"""The fields of a job, in the order in which every answer shows them."""

_TIMES = frozenset(
    {"started_at", "completed_at", "created_at", "updated_at", "scheduled_for", "lease_expires_at"}
)


def job_json(job: str, fields: Collection[str] = FIELDS) -> str:
    """Return SQL for the JSON text of the job whose row is called `job`, in the one form that every
    answer shows.

    Args:
        job: The name of the row in the statement.
        fields: The names of the fields to show, any of FIELDS. Their order does not matter.
    """

    def item(field: str) -> str:
        if field in _TIMES:
            return f"{timestamp(f'{job}.{field}')} AS {field}"
        return (
            f"{_allowed_transitions(job)} AS {field}"
            if field == "allowed_transitions"
            else f"{job}.{field}"
        )

    items = ", ".join(item(field) for field in FIELDS if field in fields)
    return f"(SELECT row_to_json(r)::text FROM (SELECT {items}) AS r)"


def tag(job: str) -> str:
    """Return SQL for what tells any two answers about the job apart: its version and, while it is
    leased, until when.

    A lease is extended far more often than a job is modified, and without a new version.
    """
    return f"concat_ws('-', {job}.version, floor(extract(epoch FROM {job}.lease_expires_at) * 1000)::bigint)"


class Representation(NamedTuple):
    """A job as the API shows it, and the `tag` that tells this from any other state of it."""

    id: UUID
    tag: str
    json: str


GET = Statement(
    "get_job",
    # Promises: the job as of now, or no row; one lookup by the primary key.
    f"SELECT {tag('j')}, {job_json('j')} FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows('j')}",
)


def get(job_id: UUID) -> Representation | None:
    """Return the job, or None where there is none."""
    rows = database.run(GET, {"id": str(job_id)})
    return Representation(job_id, *rows[0]) if rows else None


# ---------------------------------------------------------------------------------------------------------- create

_CREATED = events.happened(
    f"SELECT n.id, 1::bigint, n.moment, NULL::text, '{Status.PENDING}'::text, "
    + events.changes(
        {
            "domain_id": ("NULL::uuid", "n.domain_id"),
            "domain": ("NULL::text", "n.domain"),
            "job_type": ("NULL::text", "n.job_type"),
            "priority": ("NULL::int", "n.priority"),
            "max_retries": ("NULL::int", "n.max_retries"),
            "customer_config_id": ("NULL::uuid", "n.customer_config_id"),
            "scheduled_for": ("NULL::text", timestamp("n.scheduled_for")),
        },
        {"config": ("'{}'::jsonb", "n.config"), "metadata": ("'{}'::jsonb", "n.metadata")},
        keep_whole="false",
    )
    + ", '{}'::jsonb, NULL::bigint, 0, NULL::float8, NULL::text FROM n WHERE NOT EXISTS (SELECT FROM large)"
)

CREATE = Statement(
    "create_jobs",
    # Promises: all of the jobs and their first events; or none, and a document named that is too
    # large. The answers' order is for the caller to make.
    f"""
    WITH n AS MATERIALIZED (
        -- As precise as answers show it, so that created_before the time of a job that was read leaves that job out.
        SELECT r.*, date_trunc('milliseconds', now()) AS moment FROM jsonb_to_recordset(%(jobs)s::jsonb) AS r
            (id uuid, domain_id uuid, customer_config_id uuid, domain text, job_type text, priority int,
             max_retries int, max_concurrent int, config jsonb, metadata jsonb, scheduled_for timestamptz)
    ), large AS MATERIALIZED (
        SELECT n.id, d.name
        FROM n, LATERAL (VALUES ('config', n.config), ('metadata', n.metadata)) AS d (name, document)
        WHERE octet_length(d.document::text) > {MAX_DOCUMENT} LIMIT 1
    ), {_CREATED}, job AS (
        INSERT INTO scrape_jobs
            (id, domain_id, customer_config_id, domain, job_type, priority, max_retries, max_concurrent, config,
             metadata, scheduled_for, created_at, updated_at, chain)
        SELECT n.id, n.domain_id, n.customer_config_id, n.domain, n.job_type, n.priority, n.max_retries,
            n.max_concurrent, n.config, n.metadata, n.scheduled_for, n.moment, n.moment, event.hash
        FROM n JOIN event ON event.job_id = n.id
        RETURNING *
    ), appended AS ({events.APPEND}), uncounted AS ({events.leave_uncounted("SELECT job.id, job.version FROM job")})
    SELECT job.id, NULL, {tag("job")}, {job_json("job")} FROM job
    UNION ALL SELECT large.id, large.name, NULL, NULL FROM large
    """,
)


def create(jobs: Sequence[Mapping[str, Any]], provenance: Provenance) -> Sequence[Representation]:
    """Store new pending jobs, whose fields are JSON values by column name, and return them in the
    same order.

    Raises DocumentTooLarge, and stores none, where a config or metadata is.
    """
    parameters = {
        "jobs": document_text(jobs),
        **events.provenance_parameters("created", provenance),
    }
    ids = [UUID(job["id"]) for job in jobs]
    stored = {}
    for job_id, large, *representation in database.run(CREATE, parameters):
        if large is not None:
            raise DocumentTooLarge(large, MAX_DOCUMENT, ids.index(job_id) if len(ids) > 1 else None)
        stored[job_id] = Representation(job_id, *representation)
    return [stored[job_id] for job_id in ids]


# ---------------------------------------------------------------------------------------------------------- change


class Outcome(NamedTuple):
    """What became of a change: the job as it was under the row's lock, and either a refusal or what
    it is now.

    `max_retries` is the new one, which a retry is judged by. The refusals ``fixed`` and ``queue``
    are followed by the names of the fields that they are about.
    """

    status: Status
    retry_count: int
    max_retries: int
    refusal: str | None
    tag: str | None
    json: str | None


def _set(field: str, cast_to: str, *, unless: str, otherwise: str) -> str:
    """Return SQL for a field's new value: the request's where it gives one, else what the
    transition makes of it.

    The request's value counts as absent where the SQL condition `unless` holds.
    """
    given = f"%(sets_{field})s::bool AND ({unless}) IS NOT TRUE"
    return f"CASE WHEN {given} THEN %({field})s::{cast_to} {otherwise} END AS {field}"


def _move(field: str, value: str, otherwise: str | None = None) -> str:
    """Return SQL for the new value of one of QUEUE_FIELDS, which `compared.moved` names where it
    changes."""
    return f"CASE WHEN '{field}' = ANY(compared.moved) THEN {value} ELSE {otherwise or field} END"


# These matter in a retry alone, which clears or counts what the request does not give. The retry
# endpoint requires a transition, and gives the message that the job keeps.
_SAME_MESSAGE = "retries AND NOT %(must_move)s::bool AND %(error_message)s::text IS NOT DISTINCT FROM error_message"
_SAME_STATS = "retries AND %(stats)s::jsonb = stats"
_SAME_COUNT = "retries AND %(retry_count)s::int = cur.retry_count"

# A worker may end its job again, with all that it read before the first time, in case that answer
# got lost.
_SAME_END = (
    f"{same_time('completed_at')} OR NOT moves AND %(status)s::text = ANY({_sql_array(FINAL)})"
    " AND %(completed_at)s::timestamptz IS NULL"
)

# A count at its limit is not added to: the retry is refused, but its new row is worked out before
# it is judged.
_RETRY_COUNT = (
    "WHEN retries AND %(resets_retries)s::bool THEN 0"
    f" WHEN retries AND %(counts_retry)s::bool THEN least(cur.retry_count, {MAX_INTEGER - 1}) + 1 ELSE cur.retry_count"
)
_ERROR_MESSAGE = "WHEN retries THEN NULL ELSE error_message"
_STARTED_AT = (
    f"WHEN moves AND wanted = '{Status.RUNNING}' THEN t WHEN retries THEN NULL ELSE started_at"
)
_COMPLETED_AT = f"WHEN moves AND wanted = ANY({_sql_array(ENDED)}) THEN t WHEN retries THEN NULL ELSE completed_at"
_MAX_CONCURRENT = (
    "CASE WHEN compared.queue ? 'max_concurrent' THEN (compared.queue ->> 'max_concurrent')::int"
    " ELSE max_concurrent END"
)
_SCHEDULED_FOR = (
    "CASE WHEN retries THEN t + make_interval(secs => %(delay_seconds)s::float8)"
    " WHEN moves THEN NULL ELSE scheduled_for END"
)

_CHANGED = events.happened(
    "SELECT cur.id, cur.version + 1, cur.t, cur.status, new.status, "
    + events.changes(
        {
            "error_message": ("cur.error_message", "new.error_message"),
            "retry_count": ("cur.retry_count", "new.retry_count"),
            "started_at": (timestamp("cur.started_at"), timestamp("new.started_at")),
            "completed_at": (timestamp("cur.completed_at"), timestamp("new.completed_at")),
            "scheduled_for": (timestamp("cur.scheduled_for"), timestamp("new.scheduled_for")),
            "worker_id": ("cur.worker_id", "new.worker_id"),
        },
        {"stats": ("cur.stats", "new.stats"), "metadata": ("cur.metadata", "new.metadata")},
        keep_whole="cur.retries",
    )
    + " || CASE WHEN compared.moved IS NULL THEN '{}' ELSE "
    + events.changes(
        {name: (f"cur.{name}", f"new.{name}") for name in ("priority", "max_retries")},
        {"config": ("cur.config", "new.config")},
        keep_whole="false",
    )
    + " END"
    + f""", CASE WHEN cur.moves THEN new.stats END, CASE WHEN cur.moves THEN cur.status_seq END,
        CASE WHEN cur.moves THEN new.retry_count END,
        CASE WHEN cur.moves AND cur.status = '{Status.RUNNING}' AND new.completed_at >= new.started_at
                THEN extract(epoch FROM new.completed_at - new.started_at)::float8
            WHEN cur.moves AND cur.status = '{Status.RUNNING}' AND new.completed_at < new.started_at THEN 0 END,
        CASE WHEN cur.moves AND new.status = '{Status.FAILED}' THEN new.error_message END
    FROM cur, compared, new, judged WHERE judged.refusal IS NULL""",
    previous="(SELECT cur.chain FROM cur)",
)

_NOT_COMPARED = """NOT MATERIALIZED (
        SELECT NULL::text[] AS fixed, NULL::text[] AS moved, NULL::jsonb AS queue
    )"""
"""The clause ``compared`` of a change of the usual fields alone: the planner removes all that
depends on its nulls."""

CHANGE = Statement(
    "change_job",
    # Promises: the row is locked, judged as it is then, and changed together with its event and,
    # where the status changes, what is owed to the webhooks and the statistics; or not touched at
    # all, and the first refusal named: lease, version, transition, retries, completed_at, stats,
    # metadata. No row: no such job. The rules are parameters. A value that the job has already
    # counts as absent. Other fields than these seven are neither compared nor changed. Time is read
    # once, where the row is locked, and never goes back: now() is from before the wait.
    f"""
    WITH cur AS MATERIALIZED (
        SELECT j.*, greatest(now(), j.updated_at) AS t, coalesce(%(status)s::text, j.status) AS wanted,
            coalesce(%(status)s::text, j.status) <> j.status AS moves,
            coalesce(%(status)s::text, j.status) <> j.status AND %(status)s::text = '{Status.PENDING}' AS retries
        FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows("j")} FOR NO KEY UPDATE
    ), compared AS {_NOT_COMPARED}, new AS MATERIALIZED (
        SELECT cur.wanted AS status,
            {_set("error_message", "text", unless=_SAME_MESSAGE, otherwise=_ERROR_MESSAGE)},
            {_set("stats", "jsonb", unless=_SAME_STATS, otherwise="WHEN retries THEN '{}' ELSE stats")},
            {_set("retry_count", "int", unless=_SAME_COUNT, otherwise=_RETRY_COUNT)},
            {_set("started_at", "timestamptz", unless=same_time("started_at"), otherwise=_STARTED_AT)},
            {_set("completed_at", "timestamptz", unless=_SAME_END, otherwise=_COMPLETED_AT)},
            {_move("priority", "(compared.queue ->> 'priority')::int")} AS priority,
            {_move("max_retries", "(compared.queue ->> 'max_retries')::int")} AS max_retries,
            {_move("config", "compared.queue -> 'config'")} AS config,
            {_move("config", _MAX_CONCURRENT, "max_concurrent")} AS max_concurrent,
            {_move("scheduled_for", "(compared.queue ->> 'scheduled_for')::timestamptz", _SCHEDULED_FOR)}
                AS scheduled_for,
            CASE WHEN %(merges_metadata)s::bool THEN metadata || %(metadata)s::jsonb
                ELSE coalesce(%(metadata)s::jsonb, metadata) END AS metadata,
            CASE WHEN retries THEN NULL ELSE worker_id END AS worker_id,
            CASE WHEN retries OR %(lease_expired)s::bool THEN NULL ELSE lease_token END AS lease_token,
            -- It outlives a cancellation, until the one last report.
            CASE WHEN moves AND wanted <> '{Status.CANCELLED}' THEN NULL
                WHEN status = '{Status.CANCELLED}' AND %(lease_token)s::text IS NOT NULL THEN NULL
                ELSE lease_seconds END AS lease_seconds,
            CASE WHEN moves THEN NULL
                WHEN %(lease_token)s::text IS NOT NULL AND status = '{Status.RUNNING}'
                    THEN t + make_interval(secs => lease_seconds)
                ELSE lease_expires_at END AS lease_expires_at
        FROM cur, compared
    ), judged AS MATERIALIZED (
        SELECT CASE
            WHEN cur.lease_token IS DISTINCT FROM coalesce(%(lease_token)s::text, cur.lease_token) THEN 'lease'
            WHEN %(lease_expired)s::bool AND (cur.lease_expires_at < cur.t) IS NOT TRUE THEN 'lease'
            -- The token of a lease that is over is good for a retry, and for saying again how the job ended.
            WHEN %(lease_token)s::text IS NOT NULL AND cur.lease_seconds IS NULL AND NOT %(must_move)s::bool
                AND (cur.status = '{Status.CANCELLED}' OR %(status)s::text IS DISTINCT FROM cur.status
                    OR compared.moved IS NOT NULL) THEN 'lease'
            WHEN NOT cur.version = ANY(%(versions)s::bigint[]) THEN 'version'
            WHEN NOT cur.moves AND %(must_move)s::bool THEN 'transition'
            WHEN cur.moves AND NOT cur.status = ANY(%(entered_from)s::text[]) THEN 'transition'
            WHEN cur.retries AND %(counts_retry)s::bool
                AND CASE WHEN %(resets_retries)s::bool THEN 0 ELSE cur.retry_count END >= new.max_retries THEN 'retries'
            WHEN compared.fixed IS NOT NULL THEN 'fixed ' || array_to_string(compared.fixed, ' ')
            WHEN compared.moved IS NOT NULL AND NOT cur.status = ANY({_sql_array(QUEUEABLE)})
                THEN 'queue ' || array_to_string(compared.moved, ' ')
            WHEN new.status = ANY({_sql_array(FINAL)}) AND new.completed_at IS NULL THEN 'completed_at'
            WHEN new.status <> '{Status.PENDING}' AND new.scheduled_for IS NOT NULL THEN 'scheduled_for'
            WHEN %(sets_stats)s::bool AND octet_length(new.stats::text) > {MAX_DOCUMENT} THEN 'stats'
            WHEN %(metadata)s::jsonb IS NOT NULL AND octet_length(new.metadata::text) > {MAX_DOCUMENT}
                THEN 'metadata'
            WHEN 'config' = ANY(compared.moved) AND octet_length(new.config::text) > {MAX_DOCUMENT} THEN 'config'
        END AS refusal, new.max_retries
        FROM cur, compared, new
    ), {_CHANGED}, job AS (
        UPDATE scrape_jobs j SET
            status = new.status, error_message = new.error_message, stats = new.stats,
            retry_count = new.retry_count, started_at = new.started_at, completed_at = new.completed_at,
            metadata = new.metadata, scheduled_for = new.scheduled_for, worker_id = new.worker_id,
            priority = new.priority, max_retries = new.max_retries, config = new.config,
            max_concurrent = new.max_concurrent,
            lease_token = new.lease_token, lease_seconds = new.lease_seconds, lease_expires_at = new.lease_expires_at,
            updated_at = cur.t, version = cur.version + 1,
            status_seq = CASE WHEN cur.moves THEN cur.version + 1 ELSE cur.status_seq END, chain = event.hash
        FROM cur, new, event
        WHERE j.id = cur.id AND j.id = %(id)s::uuid
        RETURNING j.*
    ), appended AS ({events.APPEND}),
    owed AS ({events.owe("SELECT job.id, job.version, cur.t, cur.customer_config_id FROM cur, job WHERE cur.moves")}),
    uncounted AS ({events.leave_uncounted("SELECT job.id, job.version FROM cur, job WHERE cur.moves")})
    SELECT cur.status, cur.retry_count, judged.max_retries, judged.refusal, {tag("job")}, {job_json("job")}
    FROM cur CROSS JOIN judged LEFT JOIN job ON job.id = cur.id
    """,
)

_COMPARED = f"""MATERIALIZED (
        SELECT array_agg(given.key) FILTER (WHERE %(fixed)s::jsonb ? given.key) AS fixed,
            array_agg(given.key) FILTER (WHERE %(queue)s::jsonb ? given.key) AS moved,
            %(queue)s::jsonb AS queue
        FROM cur, jsonb_each(%(fixed)s::jsonb || %(queue)s::jsonb) AS given WHERE {DIFFERS}
    )"""
"""The clause ``compared`` of a change that names other fields, too: which of them have another
value in the job.

`fixed` are those that the change cannot make, `moved` those by which it moves the job in the queue.
"""

CHANGE_COMPARED = Statement(
    "change_compared_job",
    # Promises: what `change_job` does, with more refusals. After retries come fixed, with the
    # fields that have another value than the request says, and queue, with those that only a job
    # can change that waits or may wait again; after completed_at comes scheduled_for, which a job
    # cannot have that does not wait; after metadata comes config.
    CHANGE.sql.replace(_NOT_COMPARED, _COMPARED),
)


class Retry(NamedTuple):
    """How a failed job goes back to pending.

    It is due after `delay_seconds` (None: at once); with `counts` it takes one of the retries that
    are left, and with `resets` all of them are given anew.
    """

    delay_seconds: float | None = None
    counts: bool = True
    resets: bool = False


RETRY = Retry()

NOTHING: Mapping[str, Any] = {}

_REPLACED_FIELDS = ("error_message", "stats", "retry_count", "started_at", "completed_at")


def change(
    job_id: UUID,
    fields: Mapping[str, Any],
    *,
    action: str,
    provenance: Provenance,
    versions: Sequence[int] | None = None,
    lease_token: str | None = None,
    lease_expired: bool = False,
    must_move: bool = False,
    merges_metadata: bool = True,
    fixed: Mapping[str, Any] = NOTHING,
    retry: Retry = RETRY,
) -> Outcome | None:
    """Change what `fields` names, if the job allows it; None where there is no such job.

    `fields` holds any of status, error_message, stats, retry_count, started_at, completed_at and
    metadata; the last is merged into the job's, or takes its place where `merges_metadata` is
    false. It may hold QUEUE_FIELDS as JSON values, too, and max_concurrent where config names it.
    `fixed` holds JSON values that other fields must have. `versions` are the ones that the caller
    accepts (None: any); with `lease_expired` only a job is changed whose lease has run out, and
    with `must_move` the status that the job already has is refused, too. `retry` says how, where
    the change is one.
    """
    status = fields.get("status")
    queue = {name: fields[name] for name in (*QUEUE_FIELDS, "max_concurrent") if name in fields}
    rows = database.run(
        CHANGE_COMPARED if fixed or queue else CHANGE,
        {
            "id": str(job_id),
            "status": status,
            "entered_from": [str(source) for source in sources(Status(status))] if status else [],
            **{f"sets_{field}": field in fields for field in _REPLACED_FIELDS},
            **{field: fields.get(field) for field in _REPLACED_FIELDS},
            **{
                name: document_text(fields[name]) if name in fields else None
                for name in ("stats", "metadata")
            },
            "fixed": document_text(fixed),
            "queue": document_text(queue),
            "merges_metadata": merges_metadata and "metadata" in fields,
            "versions": versions,
            "lease_token": lease_token,
            "lease_expired": lease_expired,
            "must_move": must_move,
            "delay_seconds": retry.delay_seconds,
            "counts_retry": retry.counts,
            "resets_retries": retry.resets,
            **events.provenance_parameters(action, provenance),
        },
    )
    if not rows:
        return None
    current, *rest = rows[0]
    return Outcome(Status(current), *rest)


def document_text(value: Any) -> str:
    """Return the JSON text of `value`, spaced as PostgreSQL's jsonb is."""
    return json.dumps(value, ensure_ascii=False)


LOCK_DOCUMENTS = Statement(
    "lock_documents",
    # Promises: the job's status and documents, which nobody else changes until the transaction
    # ends; or no row.
    "SELECT j.status, j.stats, j.metadata, j.config FROM scrape_jobs j"
    f" WHERE j.id = %(id)s::uuid AND {visible_rows('j')} FOR NO KEY UPDATE",
)


class Documents(NamedTuple):
    """A job's documents, and its status."""

    status: str
    stats: dict[str, Any]
    metadata: dict[str, Any]
    config: dict[str, Any]


def lock_documents(job_id: UUID) -> Documents | None:
    """Return the job's documents and keep them from changing until the open transaction ends."""
    rows = database.run(LOCK_DOCUMENTS, {"id": str(job_id)})
    return Documents(*rows[0]) if rows else None
