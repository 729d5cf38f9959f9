"""SQL of live updates: which jobs were changed, and how.

The version of a job is the number of its newest event, so the jobs by the time of their last change
are an index of the log: job_events needs none by time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from app import database
from app.database import Row, Statement, array, timestamp
from app.database.tenant_scope import visible_rows
from app.jobs.list_queries import JobFilters
from app.jobs.models import ScrapeJob
from app.jobs.representation import FIELDS, job_json
from app.live.changes import ChangedJob, JobChange
from app.live.selection import LISTED_FIELDS

SCAN_ROWS = 2000
"""How many changed jobs one statement returns."""

MAX_COALESCED_EVENTS = 100
"""How many events before the newest are searched for the first one that was not sent."""

_CHANGED_JOB = (
    "j.id, j.version, j.updated_at, j.customer_config_id, j.domain, j.job_type, j.created_at"
)

CHANGED_JOBS = Statement(
    "changed_jobs",
    promise="At most `limit` jobs that were changed at or after a time, oldest change first, after"
    " the position of the last job that is known already. By the index of the list.",
    sql=f"""SELECT {_CHANGED_JOB} FROM scrape_jobs j
    WHERE (j.updated_at, j.id) > (%(since)s::timestamptz, %(after)s::uuid) AND {visible_rows("j")}
    ORDER BY j.updated_at, j.id LIMIT %(limit)s::int""",
)


def changed_jobs(since: datetime) -> Iterable[ChangedJob]:
    """Yield the jobs that were changed after `since`, in the order of their last change."""
    after = UUID(int=0)
    while True:
        rows = database.run(
            CHANGED_JOBS,
            {"since": since.isoformat(), "after": str(after), "limit": SCAN_ROWS},
        )
        jobs = [ChangedJob(*row) for row in rows]
        yield from jobs
        if len(jobs) < SCAN_ROWS:
            return
        since, after = jobs[-1].updated_at, jobs[-1].id


def _job_changes(fields: Sequence[str]) -> str:
    values = f"ARRAY(SELECT f.value::text FROM json_each({job_json('j', fields)}::json) AS f)"
    return f"""SELECT {_CHANGED_JOB},
        j.metadata -> 'tags', {timestamp("e.at")}, e.action, first.old_status, e.new_status,
        {values}
    FROM unnest(%(ids)s::uuid[], %(known)s::bigint[]) AS k (id, version)
    JOIN scrape_jobs j ON j.id = k.id
    JOIN job_events e ON e.job_id = j.id AND e.seq = j.version
    CROSS JOIN LATERAL (
        SELECT f.old_status FROM job_events f
        WHERE f.job_id = j.id
            AND f.seq > greatest(k.version, j.version - {MAX_COALESCED_EVENTS})
            AND f.seq <= j.version AND f.at >= %(since)s::timestamptz
        ORDER BY f.seq LIMIT 1
    ) AS first
    WHERE j.version > k.version AND {visible_rows("j")}
    ORDER BY j.updated_at, j.id"""


LISTED_CHANGES = Statement(
    "listed_changes",
    promise="The change of each of these jobs: its newest event, the status before the first event"
    " after the known version and the given time, and the fields that a list of jobs shows. All"
    " of one moment, in the order of the changes. By primary keys.",
    sql=_job_changes(LISTED_FIELDS),
)

WHOLE_CHANGES = Statement(
    "whole_changes",
    promise="The same as listed_changes, with all fields of the jobs.",
    sql=_job_changes(FIELDS),
)


def job_changes(
    known: Mapping[UUID, int], since: datetime, *, with_documents: bool
) -> list[JobChange]:
    """Return the changes of some jobs; jobs that do not exist any more are left out.

    Args:
        known: The version of each job that was sent already, or 0.
        since: The time of the first change that was not sent.
        with_documents: Whether all fields are needed, or those of LISTED_FIELDS.
    """
    rows = database.run(
        WHOLE_CHANGES if with_documents else LISTED_CHANGES,
        {
            "ids": array(known),
            "known": array(map(str, known.values())),
            "since": since.isoformat(),
        },
    )
    names = FIELDS if with_documents else LISTED_FIELDS
    return [_job_change(row, names) for row in rows]


def _job_change(row: Row, names: Sequence[str]) -> JobChange:
    *job, tags, at, action, old_status, new_status, values = row
    by_name = dict(zip(names, values, strict=True))
    return JobChange(ChangedJob(*job), tags, at, action, old_status, new_status, by_name)


def matching_ids(
    filters: JobFilters, job_id: UUID | None, since: datetime, limit: int
) -> list[UUID]:
    """Return the ids of at most `limit` jobs in the tenant scope that were changed since a time.

    Args:
        filters: The filters of the list; that of the status is not applied, because the status
            before the change may match it as well.
        job_id: The only job to return, or None.
        since: The time.
        limit: The maximum number of jobs.
    """
    conditions: list[Any] = replace(filters, status=None).conditions()
    conditions.append(ScrapeJob.updated_at >= since)
    if job_id is not None:
        conditions.append(ScrapeJob.id == job_id)
    query = select(ScrapeJob.id).where(*conditions).order_by(ScrapeJob.updated_at, ScrapeJob.id)
    return [id for (id,) in database.fetch(query.limit(limit))]
