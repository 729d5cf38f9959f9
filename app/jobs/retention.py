"""Retention: removes jobs that have long been over, with their history and deliveries. The only
thing that does.

Deliveries and idempotency keys that belong to no job are removed, too: see `app.webhooks.retention` and `app.idempotency.keys`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from app import database
from app.database import Batches, Parameters, Statement, rows_of
from app.errors import DatabaseTimeout
from app.jobs.states import ENDED

BATCH = 500

SPAN = Statement(
    "prunable_span",
    # Promises: the time before which a job has to have been changed last, and the oldest such time
    # there is.
    """
    SELECT c.cutoff, (SELECT min(j.updated_at) FROM scrape_jobs j WHERE j.updated_at < c.cutoff)
    FROM (SELECT now() - make_interval(secs => %(seconds)s::float8) AS cutoff) AS c
    """,
)

_ENDED = ", ".join(f"'{status}'" for status in ENDED)

# What a job says of itself the service's role may change; of events it can only add some. So none
# of them may be young. How many jobs are wanted is hidden from the planner: where row security lets
# it expect next to none, it would rather sort them all.
_OLD = f"""
    old AS MATERIALIZED (
        SELECT j.id, j.updated_at, j.version, j.status FROM scrape_jobs j
        WHERE j.updated_at < %(cutoff)s::timestamptz
            AND (j.updated_at, j.id) > (%(after_time)s::timestamptz, %(after_id)s::uuid)
        ORDER BY j.updated_at, j.id LIMIT (SELECT %(limit)s::int)
    ), prunable AS MATERIALIZED (
        SELECT o.id, o.updated_at, o.version FROM old o WHERE o.status IN ({_ENDED})
            AND NOT EXISTS (SELECT FROM job_events e WHERE e.job_id = o.id AND e.at >= %(cutoff)s::timestamptz)
            AND NOT EXISTS (SELECT FROM outbox x WHERE x.job_id = o.id)
            AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.job_id = o.id AND d.status = 'pending')
            AND NOT EXISTS (SELECT FROM uncounted_events u WHERE u.job_id = o.id)
    )"""

_LAST = "(SELECT max(updated_at) FROM old), (SELECT id FROM old ORDER BY updated_at DESC, id DESC LIMIT 1)"

LOOK = Statement(
    "look_for_old_jobs",
    # Promises: how many of the next `limit` old jobs could be removed, how many there are, and
    # where they end.
    f"WITH {_OLD} SELECT (SELECT count(*) FROM prunable), (SELECT count(*) FROM old), {_LAST}",
)

REMOVE = Statement(
    "remove_old_jobs",
    # Promises: of the next `limit` old jobs those are gone that are over, have no young events, owe
    # no webhook and are counted in the statistics, with all that belongs to them; one that was
    # changed since it was looked at stays.
    f"""
    WITH {_OLD}, gone AS (
        DELETE FROM scrape_jobs j USING prunable p
        WHERE j.id = p.id AND j.version = p.version AND j.updated_at = p.updated_at AND j.status IN ({_ENDED})
        RETURNING j.id
    ), events AS (DELETE FROM job_events e USING gone WHERE e.job_id = gone.id
    ), deliveries AS (DELETE FROM webhook_deliveries d USING gone WHERE d.job_id = gone.id)
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM old), {_LAST}
    """,
)

REMOVE_DELIVERIES = Statement(
    "remove_deliveries_of_job",
    # Promises: of the job's next `limit` deliveries those that are not owed are gone; and where
    # they end.
    f"""
    WITH step AS MATERIALIZED (
        SELECT d.seq, d.endpoint_id FROM webhook_deliveries d
        WHERE d.job_id = %(job_id)s::uuid
            AND (d.seq, d.endpoint_id) > (%(after_seq)s::bigint, %(after_endpoint)s::uuid)
        ORDER BY d.seq, d.endpoint_id LIMIT (SELECT %(limit)s::int)
    ), gone AS (
        DELETE FROM webhook_deliveries d USING {rows_of("step", "seq", "endpoint_id")} AS s (seq, endpoint_id)
        WHERE d.job_id = %(job_id)s::uuid AND d.seq = s.seq AND d.endpoint_id = s.endpoint_id
            AND (d.status <> 'pending') IS TRUE
    )
    SELECT seq, endpoint_id FROM step ORDER BY seq DESC, endpoint_id DESC LIMIT 1
    """,
)

DELIVERIES_BATCH = 5000

_FIRST_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Step:
    """A batch that is done: jobs removed (or that could be), jobs kept though they are old, and up
    to which time."""

    removed: int
    kept: int
    reached: datetime


@dataclass(frozen=True, slots=True)
class Span:
    """What is old: from the oldest job's last change (None: nothing is) to before `cutoff`."""

    cutoff: datetime
    oldest: datetime | None


def span(older_than_seconds: float) -> Span:
    """Return what is older than so many seconds, by the database's clock. Raises
    DatabaseFailure."""
    return Span(*database.run(SPAN, {"seconds": older_than_seconds})[0])


def prune(old: Span, *, dry_run: bool) -> Iterator[Step]:
    """Remove what is old, batch by batch, each a transaction of its own; with `dry_run` only look.

    Raises DatabaseFailure.
    """
    if old.oldest is None:
        return
    batches = Batches(
        LOOK if dry_run else REMOVE, BATCH
    )  # smaller ones of jobs with long histories
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
        yield Step(removed, found - removed, last_time)
        after_time, after_id = last_time.isoformat(), str(last_id)


def _remove_deliveries_of_next(parameters: Parameters) -> None:
    """Remove the deliveries of the next job, if it can go: it may have more than one statement
    removes in time."""
    removable, _, _, job_id = database.run(LOOK, {**parameters, "limit": 1})[0]
    if removable:
        batches = Batches(REMOVE_DELIVERIES, DELIVERIES_BATCH)
        after_seq, after_endpoint = 0, _FIRST_ID
        while rows := batches.run(
            {"job_id": str(job_id), "after_seq": after_seq, "after_endpoint": str(after_endpoint)}
        ):
            after_seq, after_endpoint = rows[0]
