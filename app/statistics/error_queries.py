"""The SQL that bounds the totals of errors: the most frequent patterns are kept, and the rest is counted together.

A row group, which is a span of time and a kind of job, keeps as many patterns as `KEPT` says. It is a summary by the
Space-Saving algorithm (Metwally et al. 2005) in a form that takes batches (Agarwal et al., Mergeable Summaries, 2012).
A pattern that a full group does not hold enters with the benefit of the doubt, as if it had been seen as often as any
that was dropped (`missed`). Then the patterns with the lowest counts are dropped: their failures go to the row ''. So a
pattern with more than one in `KEPT` of the group's failures is always kept, however late it comes. The API shows
`failures` alone, which were counted; with those of the row '' they are all failures of the group.
"""

import json

from app import database
from app.database import Statement
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
"""At most so many rows of a group are read to add to it; only an older release left more of them."""


def kept_of(grain: str) -> str:
    """Return SQL for how many patterns are kept of a `grain`."""
    short = " ".join(f"WHEN {seconds} THEN {most}" for seconds, most in KEPT_OF_SHORT.items())
    return f"CASE {grain} {short} ELSE {KEPT} END"


def _same_group(one: str, other: str) -> str:
    return " AND ".join(f"{one}.{column} = {other}.{column}" for column in GROUP.split(", "))


def _drop(ranked: str) -> str:
    """Return CTEs that move what `ranked` has past its place into the row ''; the caller holds the count's lock."""
    return f"""dropped AS (
        DELETE FROM job_error_totals WHERE ctid = ANY (ARRAY(
            SELECT row_id FROM {ranked} WHERE place > kept AND row_id IS NOT NULL))
    ), rest AS (
        INSERT INTO job_error_totals AS t ({GROUP}, pattern, failures, job_id, missed)
        SELECT {GROUP}, '{REST}', sum(failures), (array_agg(job_id ORDER BY place))[1], max(failures + missed)
        FROM {ranked} WHERE place > kept GROUP BY {GROUP}
        ON CONFLICT ({GROUP}, pattern) DO UPDATE SET failures = t.failures + excluded.failures,
            job_id = excluded.job_id, missed = greatest(t.missed, excluded.missed)
    )"""


def add(reported: str) -> str:
    """Return CTEs that add the failures in `reported` (group, pattern, failures, job_id) to the totals of errors."""
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
    ), {_drop("ranked")}"""


LOCK = Statement(
    "lock_totals",
    # Promises: nobody else counts until the transaction ends; or false, for somebody does already.
    "SELECT pg_try_advisory_xact_lock(hashtextextended('statistics', 0))",
)


def is_locked() -> bool:
    """Lock the totals until the transaction ends; false where another process has locked them."""
    return bool(database.run(LOCK, {})[0][0])


CHECK_DUE = Statement(
    "error_check_due",
    # Promises: where the next check of a part of the error totals begins (null: at their beginning); no row where the
    # last check of all is younger than a day.
    """
    SELECT m.place FROM (VALUES ('errors')) AS wanted (name) LEFT JOIN statistics_marks m USING (name)
    WHERE m.name IS NULL OR m.place IS NOT NULL OR m.at < now() - interval '1 day'
    """,
)

_PLACE = ("grain::int", "domain::text", "start::timestamptz", "job_type::text", "customer::text")
_FROM = ", ".join(f"%({column.replace('::', ')s::')}" for column in _PLACE)

SHRINK = Statement(
    "shrink_error_totals",
    # Promises: of the next `limit` rows from a group on, what a group has too much is in its row ''; the sum of its
    # failures is as before. Told are how many rows were read, how many of them dropped, and the group of the last one.
    f"""
    WITH chunk AS MATERIALIZED (
        SELECT t.ctid AS row_id, t.* FROM job_error_totals t WHERE ({GROUP}) >= ({_FROM})
        ORDER BY {GROUP}, pattern LIMIT (SELECT %(limit)s::int)
    ), ranked AS MATERIALIZED (
        SELECT *, {kept_of("grain")} AS kept, row_number() OVER (PARTITION BY {GROUP}
            ORDER BY failures + missed DESC, failures DESC, pattern) AS place
        FROM chunk WHERE pattern <> '{REST}'
    ), {_drop("ranked")}
    SELECT (SELECT count(*) FROM chunk), (SELECT count(*) FROM ranked WHERE place > kept), (
        SELECT jsonb_build_array(grain, domain, start, job_type, customer)::text FROM chunk
        ORDER BY {", ".join(f"{column} DESC" for column in GROUP.split(", "))} LIMIT 1)
    """,
)

MARK = Statement(
    "mark_error_check",
    # Promises: the check of the error totals has come to `place`, or, where that is null, to their end.
    """
    INSERT INTO statistics_marks (name, at, place) VALUES ('errors', now(), %(place)s::jsonb)
    ON CONFLICT (name) DO UPDATE SET at = excluded.at, place = excluded.place
    """,
)

CHUNK = 20_000
SMALLEST_CHUNK = 500
"""Rows that are checked in one step; more than any group keeps."""

_BEGINNING = (-1, "", "-infinity", "", "")


def shrink(size: int) -> int | None:
    """Check the next `size` rows of the error totals, drop what is too much, and return how many rows that were.

    None: there is nothing to do, or another process counts or checks at this moment.
    """
    if not database.run(CHECK_DUE, {}):
        return None
    with database.transaction():
        due = database.run(CHECK_DUE, {}) if is_locked() else []
        if not due:
            return None
        place = due[0][0] or _BEGINNING
        names = GROUP.split(", ")
        read, dropped, last = database.run(SHRINK, {**dict(zip(names, place, strict=True)), "limit": size})[0]
        if dropped:  # there may be more of the same groups: the next step begins at the same place
            database.run(MARK, {"place": json.dumps(place)})
        else:
            database.run(MARK, {"place": last if read == size else None})
        return int(dropped)
