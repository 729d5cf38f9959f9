"""The statistics' SQL: counting what happened into the running totals, and reading them.

A status change contributes twice: a job more in the status that it took, with what its ended
attempt used, at the time of the change; and a job less in the status that it left, at the time when
it had taken that. So the jobs by status of a window are those that stand in a status which they
took in that window, and the figures of all windows add up.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from app import database
from app.database import Statement, tenant_scope
from app.database.tenant_scope import PARAMETER
from app.jobs.states import Status
from app.statistics import error_queries, time_zones
from app.statistics.error_queries import REST
from app.statistics.models import ALL_TIME, LAYOUT
from app.statistics.periods import (
    BY_TIME,
    GRAINS_OF_ALL,
    QUARTERS_OF_KINDS,
    Grains,
    by_period,
    whole,
)
from app.statistics.time_zones import LENGTH
from app.statistics.windows import Cover, Moment, Span

GROWTH = 1.0816
"""How much wider each bucket of the durations is than the one before: its middle is within 4 % of
all in it."""

SHORTEST = 0.001
"""Seconds below which a duration counts as none."""

NO_DURATION = -1000
"""The bucket of those."""

NOBODY = "none"
"""The customer of jobs that have none."""

MOST_ERRORS = 10
MOST_GROUPS = 1000

_LARGEST = "1e15"
"""Past which a number in stats is taken for nonsense and left out."""

STATES = tuple(str(status) for status in Status)
COUNTS = (*STATES, "retried", "timed", "memory_samples", "cpu_samples", "latency_samples")
SUMS = ("seconds", "pages", "page_seconds", "memory_sum", "cpu_sum", "latency_sum")
PEAKS = ("memory_peak", "cpu_peak", "latency_peak")


def _number(value: str) -> str:
    """Return SQL for the number that a jsonb is, or null where it is no sensible one."""
    return (
        f"CASE WHEN jsonb_typeof({value}) = 'number' AND ({value})::numeric BETWEEN 0 AND {_LARGEST}"
        f" THEN ({value})::float8 END"
    )


_MEMORY_PATTERN = r"^ *([0-9]{1,12}(?:\.[0-9]{1,18})?) *([kKmMgGtT]?)(i?[bB])? *$"
_MEMORY_MB = f"""(SELECT m[1]::float8 * CASE upper(m[2])
        WHEN 'K' THEN 0.001 WHEN 'M' THEN 1.0 WHEN 'G' THEN 1000.0 WHEN 'T' THEN 1000000.0
        ELSE CASE WHEN m[3] IS NULL THEN 1.0 ELSE 0.000001 END END
    FROM regexp_match(x."memoryUsage" #>> '{{}}', '{_MEMORY_PATTERN}') AS m)"""
"""SQL for the megabytes that a text such as 150MB or 1.5 GiB tells, or null; a bare number counts
as such."""

_BUCKET = f"CASE WHEN e.seconds < {SHORTEST} THEN {NO_DURATION} ELSE floor(ln(e.seconds) / ln({GROWTH}::float8))::int END"


_ERROR = "left(coalesce(nullif(e.error_message, ''), 'No error message'), 500)"


def _folded(text: str) -> str:
    """Return SQL for an error's text with what differs from case to case taken out: addresses, ids,
    numbers."""
    for pattern, name in (
        (r"[a-z][a-z0-9+.-]*://[^\s<>\"'']+", "<url>"),
        (r"\m[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\M", "<id>"),
        (
            r"\m(?=[0-9_-]*[a-z])(?:[a-z_-]*[0-9]){4,}[0-9a-z_-]*\M",
            "<id>",
        ),  # a word of letters and many digits
        (r"[0-9]+(?:[.,:][0-9]+)*", "<n>"),
        (r"\s+", " "),
    ):
        text = f"regexp_replace({text}, '{pattern}', '{name}', 'gi')"
    return text


_PATTERN = f"left({_folded(_ERROR)}, 200)"

_KIND = f"coalesce(j.customer_config_id::text, '{NOBODY}') AS customer, j.domain, j.job_type"

_TOOK = f"""
    SELECT e.at, e.job_id, {_KIND}, e.new_status AS status, 1 AS jobs, e.retry_count > 0 AS retried,
        CASE WHEN e.new_status = '{Status.COMPLETED}' THEN e.seconds END AS seconds,
        CASE WHEN e.new_status = '{Status.COMPLETED}' AND e.seconds IS NOT NULL THEN {_BUCKET} END AS bucket,
        CASE WHEN e.seconds > 0 THEN {_number('x."pagesProcessed"')} END AS pages, e.seconds AS attempt_seconds,
        {_MEMORY_MB} AS memory, {_number('x."cpuUsage"')} AS cpu, {_number('x."networkLatency"')} AS latency,
        CASE WHEN e.new_status = '{Status.FAILED}' AND e.action <> 'released' THEN {_PATTERN} END AS pattern"""

_LEFT = f"""
    SELECT p.at, p.job_id, {_KIND}, p.new_status, -1, p.retry_count > 0,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"""

_ENDED = f"""CROSS JOIN LATERAL (
        -- Once, and not number by number: each look into a large document reads all of it.
        SELECT s."pagesProcessed", p.* FROM jsonb_to_record(
            CASE WHEN e.old_status = '{Status.RUNNING}' THEN e.stats ELSE '{{}}' END
        ) AS s ("pagesProcessed" jsonb, performance jsonb), jsonb_to_record(
            CASE WHEN jsonb_typeof(s.performance) = 'object' THEN s.performance ELSE '{{}}' END
        ) AS p ("memoryUsage" jsonb, "cpuUsage" jsonb, "networkLatency" jsonb)
    ) AS x"""
"""What the attempt that ended with an event reported, as `x`."""


def _one(table: str, row: str, condition: str) -> str:
    """Return SQL that finds the one `row` of a table by its key, whatever PostgreSQL thinks of how
    many are looked for.

    Left to itself it reads the whole table while it does not know that few are.
    """
    return f"CROSS JOIN LATERAL (SELECT * FROM {table} {row} WHERE {condition} LIMIT 1) AS {row}"


def _contributions(source: str) -> str:
    """Return SQL for what the events in `source` (job_id, seq) contribute."""
    event = _one("job_events", "e", "e.job_id = u.job_id AND e.seq = u.seq")
    job = _one("scrape_jobs", "j", "j.id = u.job_id")
    left = _one("job_events", "p", "p.job_id = e.job_id AND p.seq = e.previous_seq")
    return f"""{_TOOK} FROM {source} u {event} {job} {_ENDED}
    UNION ALL {_LEFT} FROM {source} u {event} {left} {job}"""


def _edge(number: int) -> str:
    """Return SQL for what happened at one edge of a window; each is a range of its own, which an
    index can follow."""
    start, end = f"%(edge_{number}_start)s::timestamptz", f"%(edge_{number}_end)s::timestamptz"
    return f"""{_TOOK}
        FROM job_events e {_one("scrape_jobs", "j", "j.id = e.job_id")} {_ENDED}
        WHERE e.at >= {start} AND e.at < {end} AND e.stats IS NOT NULL
    UNION ALL {_LEFT}
        FROM job_events p {_one("scrape_jobs", "j", "j.id = p.job_id AND j.status_seq <> p.seq")}
        WHERE p.at >= {start} AND p.at < {end} AND p.stats IS NOT NULL"""


_MEASURES = ", ".join(
    [
        f"coalesce(sum(c.jobs) FILTER (WHERE c.status = '{status}'), 0)::bigint AS {status}"
        for status in STATES
    ]
    + [
        "coalesce(sum(c.jobs) FILTER (WHERE c.retried), 0)::bigint AS retried",
        "count(c.seconds) AS timed",
        *(f"count(c.{name}) AS {name}_samples" for name in ("memory", "cpu", "latency")),
        "coalesce(sum(c.seconds), 0) AS seconds",
        "coalesce(sum(c.pages), 0) AS pages",
        "coalesce(sum(c.attempt_seconds) FILTER (WHERE c.pages IS NOT NULL), 0) AS page_seconds",
        *(f"coalesce(sum(c.{name}), 0) AS {name}_sum" for name in ("memory", "cpu", "latency")),
        *(f"max(c.{name}) AS {name}_peak" for name in ("memory", "cpu", "latency")),
    ]
)
_COLUMNS = ", ".join((*COUNTS, *SUMS, *PEAKS))
_ROW = "grain, domain, job_type, customer, start"


def _array(grains: Sequence[int]) -> str:
    return f"ARRAY[{', '.join(map(str, grains))}]"


_ADDED = ", ".join(
    [f"{name} = t.{name} + excluded.{name}" for name in (*COUNTS, *SUMS)]
    + [f"{name} = greatest(t.{name}, excluded.{name})" for name in PEAKS]
)

LOCK = Statement(
    "lock_totals",
    # Promises: nobody else counts until the transaction ends; or false, for somebody does already.
    "SELECT pg_try_advisory_xact_lock(hashtextextended('statistics', 0))",
)

COUNT = Statement(
    "count_events",
    # Promises: at most `limit` status changes leave the uncounted ones in the statement that adds
    # them to the totals.
    f"""
    WITH taken AS MATERIALIZED (
        DELETE FROM uncounted_events WHERE (job_id, seq) IN (
            SELECT job_id, seq FROM uncounted_events LIMIT %(limit)s::int)
        RETURNING job_id, seq
    ), contribution AS MATERIALIZED ({_contributions("taken")}
    ), part AS MATERIALIZED (
        SELECT g.grain, CASE g.grain WHEN {ALL_TIME} THEN timestamptz 'epoch'
                ELSE date_bin(make_interval(secs => g.grain), c.at, timestamptz 'epoch') END AS start,
            k.customer, k.domain, k.job_type,
            c.job_id, c.at, c.status, c.jobs, c.retried, c.seconds, c.bucket, c.pages, c.attempt_seconds, c.memory,
            c.cpu, c.latency, c.pattern
        FROM contribution c CROSS JOIN LATERAL (VALUES
            ('', '', '', {_array((ALL_TIME, *GRAINS_OF_ALL))}),
            (c.customer, c.domain, c.job_type, {_array((ALL_TIME, *QUARTERS_OF_KINDS))})
        ) AS k (customer, domain, job_type, grains) CROSS JOIN unnest(k.grains) AS g (grain)
    ), totals AS (
        INSERT INTO job_totals AS t (layout, {_ROW}, {_COLUMNS})
        SELECT {LAYOUT}, {_ROW}, {_MEASURES} FROM part c GROUP BY {_ROW}
        ON CONFLICT ({_ROW}) DO UPDATE SET {_ADDED}
    ), durations AS (
        INSERT INTO job_duration_totals AS t ({_ROW}, bucket, jobs)
        SELECT {_ROW}, bucket, count(*) FROM part WHERE bucket IS NOT NULL GROUP BY {_ROW}, bucket
        ON CONFLICT ({_ROW}, bucket) DO UPDATE SET jobs = t.jobs + excluded.jobs
    ), reported AS MATERIALIZED (
        SELECT {_ROW}, pattern, count(*) AS failures, (array_agg(job_id ORDER BY at DESC))[1] AS job_id
        FROM part WHERE pattern IS NOT NULL GROUP BY {_ROW}, pattern
    ), {error_queries.add("reported")}
    SELECT count(*) FROM taken
    """,
)


def count(limit: int) -> int:
    """Add at most `limit` status changes to the totals and return how many; none while somebody
    else does."""
    with database.transaction():
        if not database.run(LOCK, {})[0][0]:
            return 0
        return int(database.run(COUNT, {"limit": limit})[0][0])


# ------------------------------------------------------------------------------------------------------------- read


GROUPS = ("domain", "job_type", *BY_TIME)
"""What figures may be grouped by."""


_KINDS = {"all": "t.domain = ''", "domain": "t.domain = %(domain)s::text", "kinds": "t.domain > ''"}
"""Which rows of totals to read: those of all jobs together, those of one domain, or those of all
kinds."""


def _matches(row: str) -> str:
    """Return SQL for whether a `row` of totals, or what an event contributes, is asked for and is
    the caller's."""
    conditions = {
        "customer": "customer",
        "domain": "domain",
        "job_type": "job_type",
        PARAMETER: "customer",
    }
    return " AND ".join(
        f"(%({name})s::text IS NULL OR {row}.{of} = %({name})s::text)"
        for name, of in conditions.items()
    )


def _read(group: str | None, kinds: str) -> Statement:
    """Return the statement that reads a window's figures, of all jobs and by `group`, from the rows
    of `kinds`.

    Its rows are (what, key, …): ``measures`` with every column of the totals, ``quantiles`` with
    p50 and p95, and ``error`` with pattern, failures and a job; the key is null for all jobs
    together.
    """
    by_time = group in BY_TIME
    order = "f.key DESC" if by_time else "f.total DESC, f.key"
    # Hours and days have spans of their own beside those of the whole window, and are called by
    # their place.
    of_total = "s.place" if by_time else "NULL::text" if group is None else f"t.{group}"
    of_event = "c.place" if by_time else "NULL::text" if group is None else f"c.{group}"

    def from_totals(table: str, columns: str) -> str:
        return f"""SELECT {of_total} AS key, {columns}
            FROM unnest(%(grains)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(places)s::int[])
                AS s (grain, start, "end", place)
            CROSS JOIN LATERAL (
                SELECT * FROM {table} t
                WHERE t.grain = s.grain AND {_KINDS[kinds]} AND t.start >= s.start AND t.start < s."end"
                    AND {_matches("t")} OFFSET 0
            ) AS t"""

    def from_contributions(columns: str, where: str) -> str:
        return f"""SELECT {of_event} AS key, {columns}
            FROM {"placed" if by_time else "loose"} c WHERE {where} GROUP BY 1"""

    measured = ", ".join(
        [f"sum(m.{name}) AS {name}" for name in (*COUNTS, *SUMS)]
        + [f"max(m.{name}) AS {name}" for name in PEAKS]
    )

    def grouped(select: str, source: str, *by_columns: str) -> str:
        """Return SQL that sums up `source` for all together and, where there are groups, for
        each."""
        of_all, of_group = ("key IS NULL", "key IS NOT NULL") if by_time else ("true", "true")
        if by_columns:
            of_group += " AND key IN (SELECT key FROM figures)"
        columns = "".join(f"{column}, " for column in by_columns)
        key = "NULL::int" if by_time else "NULL::text"
        together = f"SELECT {key} AS key, {columns}{select} FROM {source} m WHERE {of_all}"
        if by_columns:
            together += f" GROUP BY {', '.join(by_columns)}"
        if group is None:
            return together
        names = ", ".join(("key", *by_columns))
        return f"{together} UNION ALL SELECT key, {columns}{select} FROM {source} m WHERE {of_group} GROUP BY {names}"

    middle = f"CASE bucket WHEN {NO_DURATION} THEN 0 ELSE power({GROWTH}::float8, bucket + 0.5) END"

    def at(position: str) -> str:
        return f"min({middle}) FILTER (WHERE reached > {position})"

    by_bucket = grouped("sum(m.jobs) AS jobs", "bucket", "bucket")
    by_pattern = grouped(
        "sum(m.failures) AS failures, max(m.job_id::text) AS job_id", "failure", "pattern"
    )

    def quantile(share: float) -> str:
        place = f"{share} * (n - 1)"
        low, high = at(f"floor({place})"), at(f"ceil({place})")
        return f"{low} + ({high} - {low}) * (({place}) - floor({place}))"

    return Statement(
        f"read_statistics_of_{kinds}_by_{group or 'nothing'}",
        # Promises: the figures of the window as of one moment: the totals of its spans, what is not
        # in the totals yet of the time that the spans cover, and what happened at the edges that no
        # span covers.
        f"""
        WITH pending_event AS MATERIALIZED (SELECT job_id, seq FROM uncounted_events
        ), loose AS MATERIALIZED (
            SELECT * FROM ({_contributions("pending_event")}) AS c
            WHERE %(counts)s::bool AND c.at >= %(counted_from)s::timestamptz AND c.at < %(counted_to)s::timestamptz
                AND {_matches("c")}
            UNION ALL
            SELECT * FROM ({" UNION ALL ".join(_edge(number) for number in (1, 2))}) AS c WHERE {
            _matches("c")
        }
        ){_PLACED if by_time else ""}, measure AS MATERIALIZED (
            {from_totals("job_totals", ", ".join(f"t.{name}" for name in (*COUNTS, *SUMS, *PEAKS)))}
            UNION ALL {from_contributions(_MEASURES, "true")}
        ), figures AS MATERIALIZED (
            SELECT * FROM (
                SELECT f.*, f.pending + f.running + f.completed + f.failed + f.cancelled AS total
                FROM ({grouped(measured, "measure")}) AS f
            ) AS f
            ORDER BY f.key IS NOT NULL, {order} LIMIT {MOST_GROUPS + 2}
        ), bucket AS MATERIALIZED (
            {from_totals("job_duration_totals", "t.bucket, t.jobs")}
            UNION ALL {from_contributions("c.bucket, count(*)", "c.bucket IS NOT NULL")}, c.bucket
        ), failure AS MATERIALIZED (
            {from_totals("job_error_totals", "t.pattern, t.failures, t.job_id")}
            UNION ALL
            {
            from_contributions(
                "c.pattern, count(*), (array_agg(c.job_id ORDER BY c.at DESC))[1]",
                "c.pattern IS NOT NULL",
            )
        }, c.pattern
        ), quantiles AS (
            SELECT key, {quantile(0.5)} AS p50, {quantile(0.95)} AS p95 FROM (
                SELECT h.*, sum(jobs) OVER (PARTITION BY key ORDER BY bucket) AS reached,
                    sum(jobs) OVER (PARTITION BY key) AS n
                FROM ({by_bucket}) AS h
            ) AS h GROUP BY key, n
        ), errors AS (
            SELECT key, json_agg(json_build_object('pattern', pattern, 'count', failures, 'job_id', job_id)
                ORDER BY place) FILTER (WHERE place <= {MOST_ERRORS} AND pattern <> '{
            REST
        }') AS list,
                sum(failures) FILTER (WHERE place > {MOST_ERRORS} OR pattern = '{
            REST
        }')::bigint AS others
            FROM (
                SELECT f.*, row_number() OVER (PARTITION BY key, pattern = '{
            REST
        }' ORDER BY failures DESC, pattern)
                    AS place
                FROM ({by_pattern}) AS f
            ) AS f GROUP BY key
        )
        SELECT f.key, row_to_json(f), q.p50, q.p95, e.list, coalesce(e.others, 0)
        FROM figures f LEFT JOIN quantiles q ON q.key IS NOT DISTINCT FROM f.key
            LEFT JOIN errors e ON e.key IS NOT DISTINCT FROM f.key
        ORDER BY f.key IS NOT NULL, {order}
        """,
    )


_PLACED = """, placed AS MATERIALIZED (
            -- Each event for the whole window, and for its hour or day.
            SELECT c.*, p.place FROM loose c CROSS JOIN LATERAL (
                SELECT NULL::int AS place UNION ALL
                SELECT (%(period_places)s::int[])[b.number]
                FROM width_bucket(c.at, %(period_starts)s::timestamptz[]) AS b (number)
                WHERE b.number > 0 AND c.at < (%(period_ends)s::timestamptz[])[b.number]
            ) AS p
        )"""

_READ = {(group, kinds): _read(group, kinds) for group in (None, *GROUPS) for kinds in _KINDS}


BY_STATUS = Statement(
    "jobs_by_status",
    # Promises: how many jobs stand in each status: by the totals, and what is not in them yet.
    f"""
    SELECT s.status, sum(s.jobs)::bigint FROM (
        SELECT v.status, v.jobs FROM job_totals t
        CROSS JOIN LATERAL (VALUES {", ".join(f"('{status}', t.{status})" for status in STATES)}) AS v (status, jobs)
        WHERE t.grain = {ALL_TIME} AND t.domain = ''
        UNION ALL SELECT e.new_status, 1 FROM uncounted_events u JOIN job_events e USING (job_id, seq)
        UNION ALL SELECT e.old_status, -1 FROM uncounted_events u JOIN job_events e USING (job_id, seq)
            WHERE e.previous_seq IS NOT NULL
    ) AS s GROUP BY s.status
    """,
)


def jobs_by_status() -> dict[str, int]:
    """Return how many jobs stand in each status."""
    return {**dict.fromkeys(STATES, 0), **dict(database.run(BY_STATUS, {}))}


_SLACK = 24
"""Hours before and after now that are read in any case: events come while the figures are read."""

_MOST_CELLS = 3 * (MOST_GROUPS + 2) + 2 * _SLACK
"""Hours or days of UTC, enough for MOST_GROUPS of a zone: each of these overlaps at most three."""


def _cells(unit: str, kinds: str) -> Statement:
    """Return the statement that finds the hours or days of UTC in which anything happened to the
    rows of `kinds`."""
    event = _one("job_events", "e", "e.job_id = u.job_id AND e.seq = u.seq")
    left = _one("job_events", "p", "p.job_id = e.job_id AND p.seq = e.previous_seq")
    return Statement(
        f"{unit}s_of_{kinds}_with_events",
        # Promises: since when quarter hours are kept; and the newest `most` hours or days of the
        # window in which anything was counted, waits to be counted, or may happen until the figures
        # are read.
        f"""
        SELECT (SELECT m.at FROM statistics_marks m WHERE m.name = 'quarters'), ARRAY(
            SELECT date_bin('1 {unit}', f.at, timestamptz 'epoch') FROM (
                (SELECT DISTINCT t.start AS at FROM job_totals t
                WHERE t.grain = {LENGTH[unit]} AND {_KINDS[kinds]} AND {_matches("t")}
                    AND t.start > %(start)s::timestamptz - interval '1 {unit}' AND t.start < %(end)s::timestamptz
                ORDER BY t.start DESC LIMIT (SELECT %(most)s::int))
                UNION ALL SELECT e.at FROM uncounted_events u {event}
                UNION ALL SELECT p.at FROM uncounted_events u {event} {left}
                UNION ALL SELECT now() + h * interval '1 hour' FROM generate_series(-{_SLACK}, {_SLACK}) AS h
            ) AS f
            WHERE f.at > %(start)s::timestamptz - interval '1 {unit}' AND f.at < %(end)s::timestamptz
            GROUP BY 1 ORDER BY 1 DESC LIMIT (SELECT %(most)s::int)
        )
        """,
    )


_CELLS = {(unit, kinds): _cells(unit, kinds) for unit in BY_TIME for kinds in _KINDS}


class Figures(NamedTuple):
    """What was read of a group of jobs."""

    key: str | datetime | None
    """The group, by time its beginning; None: all jobs together."""
    measures: Mapping[str, Any]
    """The columns of the totals, and the total of jobs."""
    p50: float | None
    p95: float | None
    errors: Sequence[Mapping[str, Any]] | None
    """The commonest ones: pattern, count, job_id."""
    other_errors: int
    """Failures that are in none of these."""


class Question(NamedTuple):
    """Of which jobs the figures are asked, and by what they are grouped."""

    customer: UUID | None = None
    domain: str | None = None
    job_type: str | None = None
    group: str | None = None
    zone: ZoneInfo | None = None
    """Whose hours or days."""


def read(start: Moment, end: Moment, asked: Question) -> list[Figures]:
    """Return the figures of all jobs and then of each group, at most MOST_GROUPS of them and one
    more."""
    group = asked.group
    by_kind = bool(
        asked.customer
        or tenant_scope.customer()
        or asked.job_type
        or group in ("domain", "job_type")
    )
    kinds = "domain" if asked.domain is not None else "kinds" if by_kind else "all"
    filters = {
        "customer": None if asked.customer is None else str(asked.customer),
        "domain": asked.domain,
        "job_type": asked.job_type,
    }
    if group in BY_TIME:
        return _read_by_time(start, end, asked, kinds, filters)
    window = whole(start, end, Grains(kinds != "all"))
    return [
        Figures(*row)
        for row in database.run(_READ[group, kinds], {**filters, **_window(window, ())})
    ]


def _read_by_time(
    start: Moment, end: Moment, asked: Question, kinds: str, filters: Mapping[str, Any]
) -> list[Figures]:
    unit, zone = asked.group or "", asked.zone or time_zones.load("UTC")
    limits = {"start": _low(start), "end": _high(end), "most": _MOST_CELLS}
    ((since, cells),) = database.run(_CELLS[unit, kinds], {**filters, **limits})
    grains = Grains(kinds != "all", since)
    window = whole(start, end, grains)
    found = by_period(zone, unit, cells, _MOST_CELLS, window, grains)
    parameters = {
        **filters,
        **_window(window, found.spans),
        "period_places": [place for place, _, _ in found.periods],
        "period_starts": database.array(start.isoformat() for _, start, _ in found.periods),
        "period_ends": database.array(end.isoformat() for _, _, end in found.periods),
    }
    rows = database.run(_READ[unit, kinds], parameters)
    return [
        Figures(None if place is None else found.firsts[place], *figures)
        for place, *figures in rows
    ]


def _window(window: Cover, parts: Sequence[tuple[int, Span]]) -> dict[str, Any]:
    """Return a window, and the spans of its hours or days, as parameters."""
    everything = Span(ALL_TIME, None, None)
    counted = window.counted
    of_window = [everything] if counted == (None, None) else window.spans
    spans: list[tuple[int | None, Span]] = [*((None, span) for span in of_window), *parts]
    parameters: dict[str, Any] = {
        "grains": [span.grain for _, span in spans],
        "starts": database.array(_low(span.start) for _, span in spans),
        "ends": database.array(_high(span.end) for _, span in spans),
        "places": [place for place, _ in spans],
        "counts": counted is not None,
        "counted_from": _low(counted[0]) if counted else None,
        "counted_to": _high(counted[1]) if counted else None,
    }
    for number, (low, high) in enumerate([*window.edges, (None, None), (None, None)][:2], 1):
        parameters[f"edge_{number}_start"] = low and low.isoformat()
        parameters[f"edge_{number}_end"] = high and high.isoformat()
    return parameters


def _low(moment: Moment) -> str:
    return "-infinity" if moment is None else moment.isoformat()


def _high(moment: Moment) -> str:
    return "infinity" if moment is None else moment.isoformat()
