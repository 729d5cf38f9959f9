"""SQL that creates jobs, one or many in one statement."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.errors import DocumentTooLarge
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.documents import MAX_DOCUMENT_BYTES, document_text
from app.jobs.representation import Representation, job_json, tag
from app.jobs.states import Status

_APPEND_CREATED = events.append_event(
    "FROM n WHERE NOT EXISTS (SELECT FROM large)",
    job_id="n.id",
    seq="1::bigint",
    at="n.moment",
    old_status="NULL::text",
    new_status=f"'{Status.PENDING}'::text",
    changes=events.field_changes(
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
    ),
    stats="'{}'::jsonb",
    retry_count="0",
)

CREATE = Statement(
    "create_jobs",
    promise="All jobs and their first events are stored, and one row per job is returned, in any"
    " order. If a document is too large, nothing is stored, and the only row names that job"
    " and document.",
    sql=f"""
    WITH n AS MATERIALIZED (
        -- created_at has the precision that responses show: a list with created_before set to the
        -- created_at of a job that was read leaves that job out.
        SELECT r.*, date_trunc('milliseconds', now()) AS moment
        FROM jsonb_to_recordset(%(jobs)s::jsonb) AS r (
            id uuid, domain_id uuid, customer_config_id uuid, domain text, job_type text,
            priority int, max_retries int, max_concurrent int, config jsonb, metadata jsonb,
            scheduled_for timestamptz)
    ), large AS MATERIALIZED (
        SELECT n.id, d.name
        FROM n, LATERAL (
            VALUES ('config', n.config), ('metadata', n.metadata)) AS d (name, document)
        WHERE octet_length(d.document::text) > {MAX_DOCUMENT_BYTES} LIMIT 1
    ), {_APPEND_CREATED}, job AS (
        INSERT INTO scrape_jobs (
            id, domain_id, customer_config_id, domain, job_type, priority, max_retries,
            max_concurrent, config, metadata, scheduled_for, created_at, updated_at, chain)
        SELECT n.id, n.domain_id, n.customer_config_id, n.domain, n.job_type, n.priority,
            n.max_retries, n.max_concurrent, n.config, n.metadata, n.scheduled_for, n.moment,
            n.moment, event.hash
        FROM n JOIN event ON event.job_id = n.id
        RETURNING *
    ), {events.enqueue_for_statistics()}
    SELECT job.id, NULL, {tag("job")}, {job_json("job")} FROM job
    UNION ALL SELECT large.id, large.name, NULL, NULL FROM large
    """,
)


def create(jobs: Sequence[Mapping[str, Any]], provenance: Provenance) -> Sequence[Representation]:
    """Store new pending jobs and return them in the same order.

    Args:
        jobs: The fields of each job as JSON values, by column name.
        provenance: The provenance of their first events.

    Raises:
        DocumentTooLarge: If a config or metadata is too large. Then no job is stored.
    """
    parameters = {
        "jobs": document_text(jobs),
        **events.provenance_parameters("created", provenance),
    }
    ids = [UUID(job["id"]) for job in jobs]
    stored = {}
    for job_id, large_document, *representation in database.run(CREATE, parameters):
        if large_document is not None:
            index = ids.index(job_id) if len(ids) > 1 else None
            raise DocumentTooLarge(large_document, MAX_DOCUMENT_BYTES, index)
        stored[job_id] = Representation(job_id, *representation)
    return [stored[job_id] for job_id in ids]
