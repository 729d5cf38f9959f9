"""Adds status changes to the running totals.

Every status change leaves a row in `uncounted_events`. Counting removes these rows and adds their
contributions to the totals in the same statement, so that a change counts exactly once.
"""

from collections.abc import Sequence

from app import database
from app.database import Statement
from app.statistics.contributions import SUMMED, contributions_of
from app.statistics.error_totals import add_failures
from app.statistics.measures import COUNTS, MEASURES, PEAKS, SUMS
from app.statistics.models import ALL_TIME, LAYOUT
from app.statistics.periods import GRAINS_OF_ALL, QUARTERS_OF_KINDS

_KEY = "grain, domain, job_type, customer, start"
_COLUMNS = ", ".join(MEASURES)

_ADDED = ", ".join(
    [f"{name} = t.{name} + excluded.{name}" for name in (*COUNTS, *SUMS)]
    + [f"{name} = greatest(t.{name}, excluded.{name})" for name in PEAKS]
)


def _array(grains: Sequence[int]) -> str:
    return f"ARRAY[{', '.join(map(str, grains))}]"


LOCK = Statement(
    "lock_totals",
    promise="Holds the lock on the totals until the transaction ends, or returns false if another"
    " process holds it.",
    sql="SELECT pg_try_advisory_xact_lock(hashtextextended('statistics', 0))",
)

COUNT = Statement(
    "count_events",
    promise="Removes at most `limit` uncounted status changes and adds them to the totals.",
    sql=f"""
    WITH taken AS MATERIALIZED (
        DELETE FROM uncounted_events WHERE (job_id, seq) IN (
            SELECT job_id, seq FROM uncounted_events LIMIT %(limit)s::int)
        RETURNING job_id, seq
    ), contribution AS MATERIALIZED ({contributions_of("taken")}
    ), part AS MATERIALIZED (
        -- One row for each grain of time, for all jobs together and for the kind of the job.
        SELECT g.grain, CASE g.grain WHEN {ALL_TIME} THEN timestamptz 'epoch'
                ELSE date_bin(make_interval(secs => g.grain), c.at, timestamptz 'epoch')
                END AS start,
            k.customer, k.domain, k.job_type, c.job_id, c.at, c.status, c.jobs, c.retried,
            c.seconds, c.bucket, c.pages, c.attempt_seconds, c.memory, c.cpu, c.latency, c.pattern
        FROM contribution c CROSS JOIN LATERAL (VALUES
            ('', '', '', {_array((ALL_TIME, *GRAINS_OF_ALL))}),
            (c.customer, c.domain, c.job_type, {_array((ALL_TIME, *QUARTERS_OF_KINDS))})
        ) AS k (customer, domain, job_type, grains) CROSS JOIN unnest(k.grains) AS g (grain)
    ), totals AS (
        INSERT INTO job_totals AS t (layout, {_KEY}, {_COLUMNS})
        SELECT {LAYOUT}, {_KEY}, {SUMMED} FROM part c GROUP BY {_KEY}
        ON CONFLICT ({_KEY}) DO UPDATE SET {_ADDED}
    ), durations AS (
        INSERT INTO job_duration_totals AS t ({_KEY}, bucket, jobs)
        SELECT {_KEY}, bucket, count(*) FROM part WHERE bucket IS NOT NULL GROUP BY {_KEY}, bucket
        ON CONFLICT ({_KEY}, bucket) DO UPDATE SET jobs = t.jobs + excluded.jobs
    ), reported AS MATERIALIZED (
        SELECT {_KEY}, pattern, count(*) AS failures,
            (array_agg(job_id ORDER BY at DESC))[1] AS job_id
        FROM part WHERE pattern IS NOT NULL GROUP BY {_KEY}, pattern
    ), {add_failures("reported")}
    SELECT count(*) FROM taken
    """,
)


def count(limit: int) -> int:
    """Add at most `limit` status changes to the totals and return their number.

    Returns 0 while another process counts. Raises DatabaseFailure.
    """
    with database.transaction():
        if not database.run(LOCK, {})[0][0]:
            return 0
        return int(database.run(COUNT, {"limit": limit})[0][0])
