"""The jobs' SQL. PostgreSQL writes the JSON that the API answers with; the service passes it through unread."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.errors import DocumentTooLarge
from app.events import queries as events
from app.events.origin import Origin
from app.jobs.states import ENDED, FINAL, Status, allowed_transitions, sources
from app.visibility import seen

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
    others = " ".join(f"WHEN {job}.status = '{status}' THEN {listed(status, retries=True)}" for status in Status)
    return f"CASE {exhausted} {others} END"


def job_json(job: str) -> str:
    """Return SQL for the JSON text of the job whose row is called `job`: the one form that every answer shows."""
    return f"""(SELECT row_to_json(r)::text FROM (SELECT
        {job}.id, {job}.domain_id, {job}.customer_config_id, {job}.domain, {job}.job_type, {job}.status,
        {job}.priority, {job}.retry_count, {job}.max_retries, {job}.config, {job}.metadata,
        {timestamp(f"{job}.started_at")} AS started_at, {timestamp(f"{job}.completed_at")} AS completed_at,
        {job}.error_message, {job}.stats,
        {timestamp(f"{job}.created_at")} AS created_at, {timestamp(f"{job}.updated_at")} AS updated_at,
        {timestamp(f"{job}.scheduled_for")} AS scheduled_for,
        {_allowed_transitions(job)} AS allowed_transitions,
        {timestamp(f"{job}.lease_expires_at")} AS lease_expires_at, {job}.worker_id) AS r)"""


def tag(job: str) -> str:
    """Return SQL for what tells any two answers about the job apart: its version and, while it is leased, until when.

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
    f"SELECT {tag('j')}, {job_json('j')} FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {seen('j')}",
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
    # Promises: all of the jobs and their first events; or none, and a document named that is too large.
    # The answers' order is for the caller to make.
    f"""
    WITH n AS MATERIALIZED (
        -- As precise as it is shown, so that created_after the time of a job that was read leaves that job out.
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


def create(jobs: Sequence[Mapping[str, Any]], origin: Origin) -> Sequence[Representation]:
    """Store new pending jobs, whose fields are JSON values by column name, and return them in the same order.

    Raises DocumentTooLarge, and stores none, where a config or metadata is.
    """
    parameters = {"jobs": document_text(jobs), **events.provenance("created", origin)}
    ids = [UUID(job["id"]) for job in jobs]
    stored = {}
    for job_id, large, *representation in database.run(CREATE, parameters):
        if large is not None:
            raise DocumentTooLarge(large, MAX_DOCUMENT, ids.index(job_id) if len(ids) > 1 else None)
        stored[job_id] = Representation(job_id, *representation)
    return [stored[job_id] for job_id in ids]


# ---------------------------------------------------------------------------------------------------------- change


class Outcome(NamedTuple):
    """What became of a change: the job as it was under the row's lock, and either a refusal or what it is now."""

    status: Status
    retry_count: int
    max_retries: int
    refusal: str | None
    tag: str | None
    json: str | None


def _set(field: str, cast_to: str, *, otherwise: str) -> str:
    """Return SQL for a field's new value: the request's where it gives one, else what the transition makes of it."""
    return f"CASE WHEN %(sets_{field})s::bool THEN %({field})s::{cast_to} {otherwise} END AS {field}"


# A count at its limit is not added to: the retry is refused, but its new row is worked out before it is judged.
_RETRY_COUNT = (
    "WHEN retries AND %(resets_retries)s::bool THEN 0"
    " WHEN retries AND %(counts_retry)s::bool AND retry_count < max_retries THEN retry_count + 1 ELSE retry_count"
)
_STARTED_AT = f"WHEN moves AND wanted = '{Status.RUNNING}' THEN t WHEN retries THEN NULL ELSE started_at"
_COMPLETED_AT = f"WHEN moves AND wanted = ANY({_sql_array(ENDED)}) THEN t WHEN retries THEN NULL ELSE completed_at"

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
    + f""", CASE WHEN cur.moves THEN new.stats END, CASE WHEN cur.moves THEN cur.status_seq END,
        CASE WHEN cur.moves THEN new.retry_count END,
        CASE WHEN cur.moves AND cur.status = '{Status.RUNNING}' AND new.completed_at >= new.started_at
                THEN extract(epoch FROM new.completed_at - new.started_at)::float8
            WHEN cur.moves AND cur.status = '{Status.RUNNING}' AND new.completed_at < new.started_at THEN 0 END,
        CASE WHEN cur.moves AND new.status = '{Status.FAILED}' THEN new.error_message END
    FROM cur, new, judged WHERE judged.refusal IS NULL""",
    previous="(SELECT cur.chain FROM cur)",
)

CHANGE = Statement(
    "change_job",
    # Promises: the row is locked, judged as it is then, and changed together with its event and, where the status
    # changes, what is owed to the webhooks and the statistics; or not touched at all, and the first refusal named:
    # lease, version, transition, retries, completed_at, stats, metadata. No row: no such job. The rules are parameters.
    # Time is read once, where the row is locked, and never goes back: now() is from before the wait.
    f"""
    WITH cur AS MATERIALIZED (
        SELECT j.*, greatest(now(), j.updated_at) AS t, coalesce(%(status)s::text, j.status) AS wanted,
            coalesce(%(status)s::text, j.status) <> j.status AS moves,
            coalesce(%(status)s::text, j.status) <> j.status AND %(status)s::text = '{Status.PENDING}' AS retries
        FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {seen("j")} FOR NO KEY UPDATE
    ), new AS MATERIALIZED (
        SELECT cur.wanted AS status,
            {_set("error_message", "text", otherwise="WHEN retries THEN NULL ELSE error_message")},
            {_set("stats", "jsonb", otherwise="WHEN retries THEN '{}' ELSE stats")},
            {_set("retry_count", "int", otherwise=_RETRY_COUNT)},
            {_set("started_at", "timestamptz", otherwise=_STARTED_AT)},
            {_set("completed_at", "timestamptz", otherwise=_COMPLETED_AT)},
            CASE WHEN %(merges_metadata)s::bool THEN metadata || %(metadata)s::jsonb
                ELSE coalesce(%(metadata)s::jsonb, metadata) END AS metadata,
            CASE WHEN retries THEN t + make_interval(secs => %(delay_seconds)s::float8)
                WHEN moves THEN NULL ELSE scheduled_for END AS scheduled_for,
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
        FROM cur
    ), judged AS MATERIALIZED (
        SELECT CASE
            WHEN cur.lease_token IS DISTINCT FROM coalesce(%(lease_token)s::text, cur.lease_token) THEN 'lease'
            WHEN %(lease_expired)s::bool AND (cur.lease_expires_at < cur.t) IS NOT TRUE THEN 'lease'
            -- The token of a lease that is over is good for a retry, and for saying again how the job ended.
            WHEN %(lease_token)s::text IS NOT NULL AND cur.lease_seconds IS NULL AND NOT %(must_move)s::bool
                AND (cur.status = '{Status.CANCELLED}' OR %(status)s::text IS DISTINCT FROM cur.status) THEN 'lease'
            WHEN NOT cur.version = ANY(%(versions)s::bigint[]) THEN 'version'
            WHEN NOT cur.moves AND %(must_move)s::bool THEN 'transition'
            WHEN cur.moves AND NOT cur.status = ANY(%(entered_from)s::text[]) THEN 'transition'
            WHEN cur.retries AND %(counts_retry)s::bool
                AND CASE WHEN %(resets_retries)s::bool THEN 0 ELSE cur.retry_count END >= cur.max_retries THEN 'retries'
            WHEN new.status = ANY({_sql_array(FINAL)}) AND new.completed_at IS NULL THEN 'completed_at'
            WHEN %(sets_stats)s::bool AND octet_length(new.stats::text) > {MAX_DOCUMENT} THEN 'stats'
            WHEN %(metadata)s::jsonb IS NOT NULL AND octet_length(new.metadata::text) > {MAX_DOCUMENT}
                THEN 'metadata'
        END AS refusal
        FROM cur, new
    ), {_CHANGED}, job AS (
        UPDATE scrape_jobs j SET
            status = new.status, error_message = new.error_message, stats = new.stats,
            retry_count = new.retry_count, started_at = new.started_at, completed_at = new.completed_at,
            metadata = new.metadata, scheduled_for = new.scheduled_for, worker_id = new.worker_id,
            lease_token = new.lease_token, lease_seconds = new.lease_seconds, lease_expires_at = new.lease_expires_at,
            updated_at = cur.t, version = cur.version + 1,
            status_seq = CASE WHEN cur.moves THEN cur.version + 1 ELSE cur.status_seq END, chain = event.hash
        FROM cur, new, event
        WHERE j.id = cur.id AND j.id = %(id)s::uuid
        RETURNING j.*
    ), appended AS ({events.APPEND}),
    owed AS ({events.owe("SELECT job.id, job.version, cur.t, cur.customer_config_id FROM cur, job WHERE cur.moves")}),
    uncounted AS ({events.leave_uncounted("SELECT job.id, job.version FROM cur, job WHERE cur.moves")})
    SELECT cur.status, cur.retry_count, cur.max_retries, judged.refusal, {tag("job")}, {job_json("job")}
    FROM cur CROSS JOIN judged LEFT JOIN job ON job.id = cur.id
    """,
)


class Retry(NamedTuple):
    """How a failed job goes back to pending.

    It is due after `delay_seconds` (None: at once); with `counts` it takes one of the retries that are left, and with
    `resets` all of them are given anew.
    """

    delay_seconds: float | None = None
    counts: bool = True
    resets: bool = False


RETRY = Retry()

_REPLACED_FIELDS = ("error_message", "stats", "retry_count", "started_at", "completed_at")


def change(
    job_id: UUID,
    fields: Mapping[str, Any],
    *,
    action: str,
    origin: Origin,
    versions: Sequence[int] | None = None,
    lease_token: str | None = None,
    lease_expired: bool = False,
    must_move: bool = False,
    merges_metadata: bool = True,
    retry: Retry = RETRY,
) -> Outcome | None:
    """Change what `fields` names, if the job allows it; None where there is no such job.

    `fields` holds any of status, error_message, stats, retry_count, started_at, completed_at and metadata; the last
    is merged into the job's, or takes its place where `merges_metadata` is false. `versions` are the ones that the
    caller accepts (None: any); with `lease_expired` only a job is changed whose lease has run out, and with `must_move`
    the status that the job already has is refused, too. `retry` says how, where the change is one.
    """
    status = fields.get("status")
    rows = database.run(
        CHANGE,
        {
            "id": str(job_id),
            "status": status,
            "entered_from": [str(source) for source in sources(Status(status))] if status else [],
            **{f"sets_{field}": field in fields for field in _REPLACED_FIELDS},
            **{field: fields.get(field) for field in _REPLACED_FIELDS},
            **{name: document_text(fields[name]) if name in fields else None for name in ("stats", "metadata")},
            "merges_metadata": merges_metadata and "metadata" in fields,
            "versions": versions,
            "lease_token": lease_token,
            "lease_expired": lease_expired,
            "must_move": must_move,
            "delay_seconds": retry.delay_seconds,
            "counts_retry": retry.counts,
            "resets_retries": retry.resets,
            **events.provenance(action, origin),
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
    # Promises: the job's status and documents, which nobody else changes until the transaction ends; or no row.
    "SELECT j.status, j.stats, j.metadata FROM scrape_jobs j"
    f" WHERE j.id = %(id)s::uuid AND {seen('j')} FOR NO KEY UPDATE",
)


class Documents(NamedTuple):
    """A job's two documents, and its status."""

    status: str
    stats: dict[str, Any]
    metadata: dict[str, Any]


def lock_documents(job_id: UUID) -> Documents | None:
    """Return the job's documents and keep them from changing until the open transaction ends."""
    rows = database.run(LOCK_DOCUMENTS, {"id": str(job_id)})
    return Documents(*rows[0]) if rows else None
