"""The SQL of the queue's depth and of a job's position in it."""

from typing import NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.database.tenant_scope import visible_rows
from app.jobs.models import MAX_PRIORITY, pending_in
from app.queue.order import AGING_SECONDS, DUE_AT, JOB_LIMIT

DEPTH = Statement(
    "queue_depth",
    promise="The number of due jobs, and for how many seconds the oldest of them has been due.",
    sql=f"""
    SELECT count(*), coalesce(extract(epoch FROM now() - min({DUE_AT})), 0)::float8
    FROM scrape_jobs j WHERE j.status = 'pending' AND {DUE_AT} <= now()
    """,
)


class QueueDepth(NamedTuple):
    """How many jobs are due, and for how many seconds the oldest of them has been due."""

    due_jobs: int
    oldest_seconds: float


def depth() -> QueueDepth:
    """Return the depth of the queue."""
    return QueueDepth(*database.run(DEPTH, {})[0])


MAX_COUNTED_JOBS = 10_000
"""Up to how many jobs of each priority are counted that come before a job."""

POSITION = Statement(
    "place_in_queue",
    promise="How many due jobs come before the job, counted up to MAX_COUNTED_JOBS of each"
    " priority, and its concurrency limits; or no row if the job does not exist.",
    sql=f"""
    SELECT j.status, j.priority, j.domain, {timestamp(DUE_AT)}, {DUE_AT} <= now(),
        (SELECT sum(part.ahead)::bigint FROM (
            SELECT (SELECT count(*) FROM (
                SELECT FROM scrape_jobs o
                WHERE {pending_in("due", "o.status")} AND o.priority = p.priority
                    AND {visible_rows("o")}
                    AND (greatest(o.scheduled_for, o.created_at), o.id)
                        < ({DUE_AT} + (p.priority - j.priority)
                            * interval '{AGING_SECONDS} seconds', j.id)
                    AND greatest(o.scheduled_for, o.created_at) <= now()
                LIMIT {MAX_COUNTED_JOBS}
            ) AS c) AS ahead FROM generate_series(1, {MAX_PRIORITY}) AS p (priority)
        ) AS part) AS ahead,
        {JOB_LIMIT}, j.max_concurrent,
        CASE WHEN {JOB_LIMIT} IS NOT NULL
            THEN (SELECT count(*) FROM scrape_jobs r
                WHERE (r.status = 'running') IS TRUE AND r.domain = j.domain
                    AND {visible_rows("r")}) END
    FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows("j")}
    """,
    past_row_security=True,
)


class QueuePosition(NamedTuple):
    """The position of a job in the queue.

    Attributes:
        status: The job's status.
        priority: The job's priority.
        domain: The job's domain.
        due_at: When the job becomes, or became, due: an ISO 8601 timestamp.
        is_due: Whether that time has come.
        ahead: How many due jobs come before it.
        limit: How many jobs of the domain may run; None for no limit.
        max_concurrent: The limit in the job's own config, or None.
        running: How many jobs of the domain run; None if `limit` is None.
    """

    status: str
    priority: int
    domain: str
    due_at: str
    is_due: bool
    ahead: int
    limit: int | None
    max_concurrent: int | None
    running: int | None


def position(job_id: UUID, domain_limit: int | None) -> QueuePosition | None:
    """Return the position of the job, or None if it does not exist."""
    rows = database.run(POSITION, {"id": str(job_id), "domain_limit": domain_limit})
    return QueuePosition(*rows[0]) if rows else None
