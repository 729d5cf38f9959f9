"""The SQL that bounds the totals of errors: the most frequent patterns are kept, and the rest is
counted together.

A row group, which is a span of time and a kind of job, keeps as many patterns as `KEPT` says. It is
a summary by the Space-Saving algorithm (Metwally et al. 2005) in a form that takes batches (Agarwal
et al., Mergeable Summaries, 2012). A pattern that a full group does not hold enters with the
benefit of the doubt, as if it had been seen as often as any that was dropped (`missed`). Then the
patterns with the lowest counts are dropped: their failures go to the row ''. So a pattern with more
than one in `KEPT` of the group's failures is always kept, however late it comes. The API shows
`failures` alone, which were counted; with those of the row '' they are all failures of the group.
"""

from app.statistics.windows import MINUTE, QUARTER, TEN_MINUTES

KEPT = 100
"""How many patterns are kept of a span of time and a kind of job."""

KEPT_OF_SHORT = {MINUTE: 20, TEN_MINUTES: 50, QUARTER: 50}
"""How many of a short span, of which there are many."""

REST = ""
"""The pattern of the row that counts all others together."""

GROUP = "grain, domain, start, job_type, customer"
"""The columns of a row group."""

_LOOKED_AT = 1000
"""Rows of a group that are read at most to add to it: there are never more, unless they came in by
another way."""


def kept_of(grain: str) -> str:
    """Return SQL for how many patterns are kept of a `grain`."""
    short = " ".join(f"WHEN {seconds} THEN {most}" for seconds, most in KEPT_OF_SHORT.items())
    return f"CASE {grain} {short} ELSE {KEPT} END"


def _same_group(one: str, other: str) -> str:
    return " AND ".join(f"{one}.{column} = {other}.{column}" for column in GROUP.split(", "))


def add(reported: str) -> str:
    """Return CTEs that add the failures in `reported` (group, pattern, failures, job_id) to the
    totals of errors."""
    return f"""stored AS MATERIALIZED (
        SELECT t.* FROM (SELECT DISTINCT {GROUP} FROM {reported}) AS g CROSS JOIN LATERAL (
            SELECT t.ctid AS row_id, t.* FROM job_error_totals t WHERE {_same_group("t", "g")}
            ORDER BY t.pattern LIMIT {_LOOKED_AT}
        ) AS t
    ), candidate AS (
        SELECT {GROUP}, pattern, s.row_id, r.failures AS added, coalesce(r.job_id, s.job_id) AS job_id,
            coalesce(s.failures, 0) + coalesce(r.failures, 0) AS failures, s.missed
        FROM stored s FULL JOIN {reported} r USING ({GROUP}, pattern) WHERE pattern <> '{REST}'
    ), entered AS (
        SELECT c.*, coalesce(c.missed, s.missed, 0) AS doubt
        FROM candidate c LEFT JOIN stored s ON {_same_group("s", "c")} AND s.pattern = '{REST}'
    ), ranked AS MATERIALIZED (
        SELECT {GROUP}, pattern, row_id, added, job_id, failures, doubt AS missed, {kept_of("grain")} AS kept,
            row_number() OVER (PARTITION BY {GROUP}
                ORDER BY failures + doubt DESC, failures DESC, row_id NULLS LAST) AS place
        FROM entered
    ), added AS (
        INSERT INTO job_error_totals AS t ({GROUP}, pattern, failures, job_id, missed)
        SELECT {GROUP}, pattern, added, job_id, missed FROM ranked WHERE place <= kept AND added > 0
        ON CONFLICT ({GROUP}, pattern) DO UPDATE SET failures = t.failures + excluded.failures, job_id = excluded.job_id
    ), dropped AS (
        DELETE FROM job_error_totals WHERE ctid = ANY (ARRAY(
            SELECT row_id FROM ranked WHERE place > kept AND row_id IS NOT NULL))
    ), rest AS (
        INSERT INTO job_error_totals AS t ({GROUP}, pattern, failures, job_id, missed)
        SELECT {GROUP}, '{REST}', sum(failures), (array_agg(job_id ORDER BY place))[1], max(failures + missed)
        FROM ranked WHERE place > kept GROUP BY {GROUP}
        ON CONFLICT ({GROUP}, pattern) DO UPDATE SET failures = t.failures + excluded.failures,
            job_id = excluded.job_id, missed = greatest(t.missed, excluded.missed)
    )"""
