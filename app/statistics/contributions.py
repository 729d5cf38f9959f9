"""SQL for the contributions of status changes to the statistics.

A status change contributes twice. It adds a job to the new status, with the resources that the
ended attempt used, at the time of the change. It subtracts a job from the old status, at the time
when the job entered that status. So the jobs by status of a window are those that entered their
current status in that window, and the figures of adjacent windows add up.
"""

from app.jobs.states import Status
from app.statistics.measures import (
    BUCKET_GROWTH,
    MIN_DURATION_SECONDS,
    NO_CUSTOMER,
    STATES,
    ZERO_BUCKET,
)

_MAX_NUMBER = "1e15"
"""A larger number in stats is ignored as implausible."""


def _number(value: str) -> str:
    """Return SQL for a jsonb as a number, or null if it is none or implausible."""
    return (
        f"CASE WHEN jsonb_typeof({value}) = 'number'"
        f" AND ({value})::numeric BETWEEN 0 AND {_MAX_NUMBER}"
        f" THEN ({value})::float8 END"
    )


_MEMORY_PATTERN = r"^ *([0-9]{1,12}(?:\.[0-9]{1,18})?) *([kKmMgGtT]?)(i?[bB])? *$"
_MEMORY_MB = f"""(SELECT m[1]::float8 * CASE upper(m[2])
        WHEN 'K' THEN 0.001 WHEN 'M' THEN 1.0 WHEN 'G' THEN 1000.0 WHEN 'T' THEN 1000000.0
        ELSE CASE WHEN m[3] IS NULL THEN 1.0 ELSE 0.000001 END END
    FROM regexp_match(x."memoryUsage" #>> '{{}}', '{_MEMORY_PATTERN}') AS m)"""
"""SQL for the megabytes in a text such as 150MB or 1.5 GiB, or null; a number alone is MB."""

_BUCKET = (
    f"CASE WHEN e.seconds < {MIN_DURATION_SECONDS} THEN {ZERO_BUCKET}"
    f" ELSE floor(ln(e.seconds) / ln({BUCKET_GROWTH}::float8))::int END"
)

_ERROR = "left(coalesce(nullif(e.error_message, ''), 'No error message'), 500)"

_VARIABLE_PARTS = (
    (r"[a-z][a-z0-9+.-]*://[^\s<>\"'']+", "<url>"),
    (r"\m[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\M", "<id>"),
    # A word of letters and many digits.
    (r"\m(?=[0-9_-]*[a-z])(?:[a-z_-]*[0-9]){4,}[0-9a-z_-]*\M", "<id>"),
    (r"[0-9]+(?:[.,:][0-9]+)*", "<n>"),
    (r"\s+", " "),
)


def _pattern_of(text: str) -> str:
    """Return SQL for an error text with placeholders for its addresses, ids and numbers."""
    for pattern, placeholder in _VARIABLE_PARTS:
        text = f"regexp_replace({text}, '{pattern}', '{placeholder}', 'gi')"
    return text


_PATTERN = f"left({_pattern_of(_ERROR)}, 200)"

_KIND = f"""coalesce(j.customer_config_id::text, '{NO_CUSTOMER}') AS customer,
        j.domain, j.job_type"""

_ENTERED = f"""
    SELECT e.at, e.job_id, {_KIND},
        e.new_status AS status, 1 AS jobs, e.retry_count > 0 AS retried,
        CASE WHEN e.new_status = '{Status.COMPLETED}' THEN e.seconds END AS seconds,
        CASE WHEN e.new_status = '{Status.COMPLETED}' AND e.seconds IS NOT NULL
            THEN {_BUCKET} END AS bucket,
        CASE WHEN e.seconds > 0 THEN {_number('x."pagesProcessed"')} END AS pages,
        e.seconds AS attempt_seconds,
        {_MEMORY_MB} AS memory, {_number('x."cpuUsage"')} AS cpu,
        {_number('x."networkLatency"')} AS latency,
        CASE WHEN e.new_status = '{Status.FAILED}' AND e.action <> 'released'
            THEN {_PATTERN} END AS pattern"""

_LEFT = f"""
    SELECT p.at, p.job_id, {_KIND},
        p.new_status, -1, p.retry_count > 0,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"""

_REPORTED = f"""CROSS JOIN LATERAL (
        -- Reads each document once: every access to a large one decompresses all of it.
        SELECT s."pagesProcessed", p.* FROM jsonb_to_record(
            CASE WHEN e.old_status = '{Status.RUNNING}' THEN e.stats ELSE '{{}}' END
        ) AS s ("pagesProcessed" jsonb, performance jsonb), jsonb_to_record(
            CASE WHEN jsonb_typeof(s.performance) = 'object' THEN s.performance ELSE '{{}}' END
        ) AS p ("memoryUsage" jsonb, "cpuUsage" jsonb, "networkLatency" jsonb)
    ) AS x"""
"""The resources that the attempt reported which an event `e` ended, as `x`."""


def join_by_key(table: str, row: str, condition: str) -> str:
    """Return SQL that joins one row of a table by its key.

    The planner does not know how few rows join. The LIMIT keeps it from reading the whole table.
    """
    return f"CROSS JOIN LATERAL (SELECT * FROM {table} {row} WHERE {condition} LIMIT 1) AS {row}"


JOIN_EVENT = join_by_key("job_events", "e", "e.job_id = u.job_id AND e.seq = u.seq")
"""Joins the event of an uncounted change `u`."""

JOIN_PREVIOUS_EVENT = join_by_key(
    "job_events", "p", "p.job_id = e.job_id AND p.seq = e.previous_seq"
)
"""Joins the event before `e`, by which the job entered the status that it left."""


def contributions_of(source: str) -> str:
    """Return SQL for the contributions of the events in `source` (job_id, seq)."""
    job = join_by_key("scrape_jobs", "j", "j.id = u.job_id")
    return f"""{_ENTERED} FROM {source} u {JOIN_EVENT} {job} {_REPORTED}
    UNION ALL {_LEFT} FROM {source} u {JOIN_EVENT} {JOIN_PREVIOUS_EVENT} {job}"""


def contributions_at_edge(number: int) -> str:
    """Return SQL for the contributions at edge `number` (1 or 2) of a window.

    Each edge is a range of its own, so that each can use an index.
    """
    start, end = f"%(edge_{number}_start)s::timestamptz", f"%(edge_{number}_end)s::timestamptz"
    job_left = join_by_key("scrape_jobs", "j", "j.id = p.job_id AND j.status_seq <> p.seq")
    return f"""{_ENTERED}
        FROM job_events e {join_by_key("scrape_jobs", "j", "j.id = e.job_id")} {_REPORTED}
        WHERE e.at >= {start} AND e.at < {end} AND e.stats IS NOT NULL
    UNION ALL {_LEFT}
        FROM job_events p {job_left}
        WHERE p.at >= {start} AND p.at < {end} AND p.stats IS NOT NULL"""


SUMMED = ", ".join(
    [
        *(
            f"coalesce(sum(c.jobs) FILTER (WHERE c.status = '{status}'), 0)::bigint AS {status}"
            for status in STATES
        ),
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
"""SQL for all measures, as aggregates of contributions `c`."""
