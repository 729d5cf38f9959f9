"""SQL that bounds the totals of errors: frequent patterns are kept, the others counted together.

A row group is a span of time and a kind of job. It keeps at most `MAX_PATTERNS` patterns. The
method is the Space-Saving algorithm (Metwally et al. 2005) in its form for batches (Agarwal et al.,
Mergeable Summaries, 2012). A pattern that is new to a full group may have been dropped earlier. So
it is ranked as if it had occurred as often as the most frequent dropped pattern (`missed`). Then
the patterns with the lowest counts are dropped, and their failures are added to the row whose
pattern is ''. Hence a pattern with more than one in `MAX_PATTERNS` of the failures of its group is
always kept, however late it appears. The API shows only `failures`, which were counted; together
with the row '' they are all failures of the group.
"""

from app.statistics.windows import MINUTE, QUARTER, TEN_MINUTES

MAX_PATTERNS = 100
"""Patterns that a row group keeps."""

MAX_PATTERNS_OF_SHORT_GRAINS = {MINUTE: 20, TEN_MINUTES: 50, QUARTER: 50}
"""The same for short grains, of which there are many row groups."""

OTHER_PATTERNS = ""
"""The pattern of the row that counts all other patterns together."""

GROUP = "grain, domain, start, job_type, customer"
"""The columns of a row group."""

_MAX_ROWS_READ = 1000
"""Rows of a group that are read. A group has more only if another program wrote them."""


def max_patterns(grain: str) -> str:
    """Return SQL for the number of patterns that a row group of `grain` keeps."""
    short = " ".join(
        f"WHEN {seconds} THEN {most}" for seconds, most in MAX_PATTERNS_OF_SHORT_GRAINS.items()
    )
    return f"CASE {grain} {short} ELSE {MAX_PATTERNS} END"


def _same_group(one: str, other: str) -> str:
    return " AND ".join(f"{one}.{column} = {other}.{column}" for column in GROUP.split(", "))


def add_failures(reported: str) -> str:
    """Return CTEs that add failures to the totals of errors.

    Args:
        reported: The name of a CTE with the columns of `GROUP`, pattern, failures and job_id.
    """
    return f"""stored AS MATERIALIZED (
        SELECT t.* FROM (SELECT DISTINCT {GROUP} FROM {reported}) AS g CROSS JOIN LATERAL (
            SELECT t.ctid AS row_id, t.* FROM job_error_totals t WHERE {_same_group("t", "g")}
            ORDER BY t.pattern LIMIT {_MAX_ROWS_READ}
        ) AS t
    ), candidate AS (
        SELECT {GROUP}, pattern, s.row_id, r.failures AS added,
            coalesce(r.job_id, s.job_id) AS job_id,
            coalesce(s.failures, 0) + coalesce(r.failures, 0) AS failures, s.missed
        FROM stored s FULL JOIN {reported} r USING ({GROUP}, pattern)
        WHERE pattern <> '{OTHER_PATTERNS}'
    ), entered AS (
        SELECT c.*, coalesce(c.missed, s.missed, 0) AS doubt
        FROM candidate c
        LEFT JOIN stored s ON {_same_group("s", "c")} AND s.pattern = '{OTHER_PATTERNS}'
    ), ranked AS MATERIALIZED (
        SELECT {GROUP}, pattern, row_id, added, job_id, failures, doubt AS missed,
            {max_patterns("grain")} AS kept,
            row_number() OVER (PARTITION BY {GROUP}
                ORDER BY failures + doubt DESC, failures DESC, row_id NULLS LAST) AS place
        FROM entered
    ), added AS (
        INSERT INTO job_error_totals AS t ({GROUP}, pattern, failures, job_id, missed)
        SELECT {GROUP}, pattern, added, job_id, missed
        FROM ranked WHERE place <= kept AND added > 0
        ON CONFLICT ({GROUP}, pattern) DO UPDATE
            SET failures = t.failures + excluded.failures, job_id = excluded.job_id
    ), dropped AS (
        DELETE FROM job_error_totals WHERE ctid = ANY (ARRAY(
            SELECT row_id FROM ranked WHERE place > kept AND row_id IS NOT NULL))
    ), rest AS (
        INSERT INTO job_error_totals AS t ({GROUP}, pattern, failures, job_id, missed)
        SELECT {GROUP}, '{OTHER_PATTERNS}', sum(failures),
            (array_agg(job_id ORDER BY place))[1], max(failures + missed)
        FROM ranked WHERE place > kept GROUP BY {GROUP}
        ON CONFLICT ({GROUP}, pattern) DO UPDATE SET failures = t.failures + excluded.failures,
            job_id = excluded.job_id, missed = greatest(t.missed, excluded.missed)
    )"""
