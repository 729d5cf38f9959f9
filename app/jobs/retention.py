"""Retention: removes old jobs that have ended, with their events and deliveries.

Nothing else removes jobs. `app.webhooks.retention` removes deliveries without a job,
and `app.idempotency.keys` removes expired keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from app import database
from app.database import Batches, Parameters, Statement, rows_of
from app.errors import DatabaseTimeout
from app.jobs.states import ENDED

PRUNE_BATCH = 500
"""Jobs to look at in one statement."""

PRUNE_RANGE = Statement(
    "prunable_span",
    promise="The time before which the last change of an old job was, and the oldest last change"
    " before that time, or null.",
    sql="""
    SELECT c.cutoff, (SELECT min(j.updated_at) FROM scrape_jobs j WHERE j.updated_at < c.cutoff)
    FROM (SELECT now() - make_interval(secs => %(seconds)s::float8) AS cutoff) AS c
    """,
)

_ENDED = ", ".join(f"'{status}'" for status in ENDED)

# The service's database role can change a job's updated_at, but it can only add events. So a job is
# removed only if none of its events is young. The subquery in LIMIT hides the number of jobs from
# the planner: row security makes it expect very few jobs, and with a known limit it would sort all
# of them.
_OLD = f"""
    old AS MATERIALIZED (
        SELECT j.id, j.updated_at, j.version, j.status FROM scrape_jobs j
        WHERE j.updated_at < %(cutoff)s::timestamptz
            AND (j.updated_at, j.id) > (%(after_time)s::timestamptz, %(after_id)s::uuid)
        ORDER BY j.updated_at, j.id LIMIT (SELECT %(limit)s::int)
    ), prunable AS MATERIALIZED (
        SELECT o.id, o.updated_at, o.version
        FROM {rows_of("old", "id", "updated_at", "version", "status")}
            AS o (id, updated_at, version, status)
        WHERE o.status IN ({_ENDED})
            AND NOT EXISTS (SELECT FROM job_events e
                WHERE e.job_id = o.id AND e.at >= %(cutoff)s::timestamptz)
            AND NOT EXISTS (SELECT FROM outbox x WHERE x.job_id = o.id)
            AND NOT EXISTS (SELECT FROM webhook_deliveries d
                WHERE d.job_id = o.id AND d.status = 'pending')
            AND NOT EXISTS (SELECT FROM uncounted_events u WHERE u.job_id = o.id)
    )"""

_LAST = """(SELECT max(updated_at) FROM old),
        (SELECT id FROM old ORDER BY updated_at DESC, id DESC LIMIT 1)"""

COUNT_PRUNABLE = Statement(
    "look_for_old_jobs",
    promise="Of the next `limit` old jobs: how many can be removed, how many there are, and the"
    " time and id of the last one.",
    sql=f"""
    WITH {_OLD}
    SELECT (SELECT count(*) FROM prunable), (SELECT count(*) FROM old), {_LAST}
    """,
)

REMOVE = Statement(
    "remove_old_jobs",
    promise="Of the next `limit` old jobs, those are deleted, with their events and deliveries,"
    " that have ended, have no young events and no pending webhooks, and are counted in the"
    " statistics. A job that was changed in the meantime is kept. Returns how many were"
    " deleted, how many there were, and the time and id of the last one.",
    sql=f"""
    WITH {_OLD}, deleted AS (
        DELETE FROM scrape_jobs j USING prunable p
        WHERE j.id = p.id AND j.version = p.version AND j.updated_at = p.updated_at
            AND j.status IN ({_ENDED})
        RETURNING j.id
    ), events AS (
        DELETE FROM job_events e USING deleted WHERE e.job_id = deleted.id
    ), deliveries AS (
        DELETE FROM webhook_deliveries d USING deleted WHERE d.job_id = deleted.id
    )
    SELECT (SELECT count(*) FROM deleted), (SELECT count(*) FROM old), {_LAST}
    """,
)

REMOVE_DELIVERIES = Statement(
    "remove_deliveries_of_job",
    promise="Of the job's next `limit` deliveries, those that are not pending are deleted. Returns"
    " the key of the last one.",
    sql=f"""
    WITH batch AS MATERIALIZED (
        SELECT d.seq, d.endpoint_id FROM webhook_deliveries d
        WHERE d.job_id = %(job_id)s::uuid
            AND (d.seq, d.endpoint_id) > (%(after_seq)s::bigint, %(after_endpoint)s::uuid)
        ORDER BY d.seq, d.endpoint_id LIMIT (SELECT %(limit)s::int)
    ), deleted AS (
        DELETE FROM webhook_deliveries d
        USING {rows_of("batch", "seq", "endpoint_id")} AS b (seq, endpoint_id)
        WHERE d.job_id = %(job_id)s::uuid AND d.seq = b.seq AND d.endpoint_id = b.endpoint_id
            AND (d.status <> 'pending') IS TRUE
    )
    SELECT seq, endpoint_id FROM batch ORDER BY seq DESC, endpoint_id DESC LIMIT 1
    """,
)

DELIVERIES_BATCH = 5000
"""Deliveries of one job to look at in one statement."""

_FIRST_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class PrunedBatch:
    """A batch of old jobs that was pruned.

    Attributes:
        removed: Number of jobs removed, or that would be removed in a dry run.
        kept: Number of jobs kept.
        reached: The last change of the last job of the batch.
    """

    removed: int
    kept: int
    reached: datetime


@dataclass(frozen=True, slots=True)
class PruneRange:
    """The range of old jobs, by the time of their last change.

    Attributes:
        cutoff: The end of the range, exclusive.
        oldest: The oldest last change before the cutoff, or None if no job is old.
    """

    cutoff: datetime
    oldest: datetime | None


def prune_range(older_than_seconds: float) -> PruneRange:
    """Return the range of jobs whose last change is older, by the clock of the database.

    Raises:
        DatabaseFailure: If the database fails.
    """
    return PruneRange(*database.run(PRUNE_RANGE, {"seconds": older_than_seconds})[0])


def prune(old: PruneRange, *, dry_run: bool) -> Iterator[PrunedBatch]:
    """Remove old jobs in batches, each in its own transaction. A dry run only counts them.

    Raises:
        DatabaseFailure: If the database fails.
    """
    if old.oldest is None:
        return
    # A batch that takes too long, of jobs with long histories, is repeated with fewer jobs.
    batches = Batches(COUNT_PRUNABLE if dry_run else REMOVE, PRUNE_BATCH)
    after_time, after_id = "-infinity", _FIRST_ID
    while True:
        parameters = {
            "cutoff": old.cutoff.isoformat(),
            "after_time": after_time,
            "after_id": after_id,
        }
        try:
            rows = batches.run(parameters)
        except DatabaseTimeout:
            _remove_deliveries_of_next(parameters)
            rows = batches.run(parameters)
        removed, found, last_time, last_id = rows[0]
        if not found:
            return
        yield PrunedBatch(removed, found - removed, last_time)
        after_time, after_id = last_time.isoformat(), str(last_id)


def _remove_deliveries_of_next(parameters: Parameters) -> None:
    """Remove the deliveries of the next job if the job can be removed.

    One job may have more deliveries than one statement can remove in time.
    """
    removable, _, _, job_id = database.run(COUNT_PRUNABLE, {**parameters, "limit": 1})[0]
    if removable:
        batches = Batches(REMOVE_DELIVERIES, DELIVERIES_BATCH)
        after_seq, after_endpoint = 0, _FIRST_ID
        while rows := batches.run(
            {"job_id": str(job_id), "after_seq": after_seq, "after_endpoint": str(after_endpoint)}
        ):
            after_seq, after_endpoint = rows[0]
