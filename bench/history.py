"""A database of jobs that were created, claimed and ended, and their statistics.

The jobs are copies of one set of jobs. The service counts only the events of the first copy into
the running totals: a million jobs would take minutes. SQL adds the totals of the other copies.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from app.config import Settings
from app.factory import create_app
from app.statistics import service
from app.statistics.measures import COUNTS, PEAKS, SUMS
from app.statistics.models import ALL_TIME
from bench.ground import TIME_ORDERED_ID, execute, vacuum, without_indexes
from support.service import own_work

EVENTS_OF_A_JOB = 3
DOMAINS = 500
CUSTOMERS = 50
TYPES = ["domain_scrape", "page_scrape", "sitemap", "product", "image"]
ERRORS = [
    "Timeout after 30012 ms at https://www.example.com/products/4711?page=2",
    "HTTP 503 from 192.0.2.17:443",
    "Connection reset by peer",
    "Selector .price not found in document 018f3a5e-7b1c-7d2e-9f00-3c5d7e9a1b2c",
    "Out of memory: 2048 MB of 2048 MB used",
    "Robots.txt disallows /private/area-51",
    "DNS lookup of shop17.example failed",
    "Navigation failed because the page crashed",
]

COPIES = 30

ORIGINALS = """
    CREATE UNLOGGED TABLE originals AS
    SELECT at AS created_at, at + wait AS started_at, at + wait + took AS ended_at,
        'd' || d || '.example' AS domain, md5('d' || d)::uuid AS domain_id,
        md5('c' || d %% %(customers)s)::uuid AS customer, (%(types)s)[t] AS job_type, priority,
        CASE WHEN error IS NULL THEN 'completed' ELSE 'failed' END AS status, retries,
        (%(errors)s)[error] AS error_message,
        jsonb_build_object('pagesProcessed', pages, 'performance', jsonb_build_object(
            'memoryUsage', 200 + pages || 'MB', 'cpuUsage', pages %% 100,
            'networkLatency', 20 + pages %% 300)) AS stats
    FROM (
        SELECT %(begin)s + %(span)s * n / %(jobs)s AS at,
            floor(%(domains)s * random() ^ 2)::int AS d, 1 + floor(random() * 5)::int AS t,
            1 + floor(random() * 10)::int AS priority, 1 + floor(random() * 500)::int AS pages,
            CASE WHEN random() < 0.1 THEN 1 + floor(random() * %(kinds_of_errors)s)::int
                END AS error,
            (random() < 0.1)::int AS retries, random() * interval '2 minutes' AS wait,
            exp(3 + random_normal()) * interval '1 second' AS took
        FROM generate_series(1, %(jobs)s) AS n
    ) AS job"""

COPY = f"""
    WITH job AS (
        INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, priority,
            max_retries, status, retry_count, stats, error_message, started_at, completed_at,
            created_at, updated_at, version, status_seq)
        SELECT {TIME_ORDERED_ID}, domain_id, customer, domain, job_type, priority, 3, status,
            retries, stats, error_message, started_at + %(later)s, ended_at + %(later)s, at,
            ended_at + %(later)s, 3, 3
        FROM (SELECT *, created_at + %(later)s AS at FROM originals) AS original
        RETURNING *
    )
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes,
        stats, previous_seq, retry_count, seconds, error_message)
    SELECT j.id, e.* FROM job j CROSS JOIN LATERAL (VALUES
        (1, j.created_at, 'created', NULL, 'pending', 'anonymous', jsonb_build_object('domain',
            jsonb_build_object('from', NULL, 'to', j.domain)), '{{}}'::jsonb, NULL::bigint,
            j.retry_count, NULL::float8, NULL),
        (2, j.started_at, 'claimed', 'pending', 'running', 'anonymous', '{{}}', '{{}}', 1,
            j.retry_count, NULL, NULL),
        (3, j.completed_at, 'updated', 'running', j.status, 'anonymous', jsonb_build_object('stats',
            jsonb_build_object('from', NULL, 'to', j.stats)), j.stats, 2, j.retry_count,
            extract(epoch FROM j.completed_at - j.started_at)::float8, j.error_message)
    ) AS e"""  # noqa: S608 - of constants
"""Inserts the original jobs, `later` by an interval, and their events."""

UNCOUNTED = "INSERT INTO uncounted_events (job_id, seq) SELECT job_id, seq FROM job_events"

TOTALS = {
    "job_totals": (
        "layout",
        {**dict.fromkeys((*COUNTS, *SUMS), "sum"), **dict.fromkeys(PEAKS, "max")},
    ),
    "job_duration_totals": ("bucket", {"jobs": "sum"}),
    "job_error_totals": (
        "pattern",
        {"failures": "sum", "missed": "sum", "job_id": "any_value"},
    ),
}
"""The tables of totals, with a column that groups their rows beside the span of time and the kind
of job, and the other columns with the aggregate that joins two rows."""


def repeat_totals(table: str) -> tuple[str, ...]:
    """Return statements that add the totals of the other copies to those of the first one."""
    grouping, aggregates = TOTALS[table]
    return (
        f"CREATE TEMPORARY TABLE counted ON COMMIT DROP AS TABLE {table}",
        f"TRUNCATE {table}",
        "SET LOCAL work_mem = '256MB'",
        f"""
        INSERT INTO {table}
            (grain, domain, start, job_type, customer, {grouping}, {", ".join(aggregates)})
        SELECT grain, domain,
            start + CASE grain WHEN {ALL_TIME} THEN interval '0' ELSE copy * %(shift)s END,
            job_type, customer, {grouping},
            {", ".join(f"{aggregate}({column})" for column, aggregate in aggregates.items())}
        FROM counted CROSS JOIN generate_series(0, {COPIES - 1}) AS copy
        GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6""",  # noqa: S608 - of constants
    )


EVERYTHING: dict[str, Any] = {"customer": None, "domain": None, "job_type": None, "group": None}
"""Arguments of the statistics of all jobs."""


class History:
    """A database of jobs that ended, and the service on it in this process.

    Args:
        url: The URL of an empty database that has the schema.
        jobs: The number of jobs.
        begin: When the first job was created.
        span: The time in which the jobs of one copy were created.
        shift: How much later the jobs of the next copy were created: whole days, or nothing.
    """

    def __init__(
        self, url: str, jobs: int, begin: datetime, span: timedelta, shift: timedelta
    ) -> None:
        self.jobs = jobs // COPIES * COPIES
        self._url = url
        self._shift = shift
        self._app = create_app(Settings(database_url=url, auth="off", rate_limit=False))
        values = {
            "jobs": jobs // COPIES, "begin": begin, "span": span, "domains": DOMAINS,
            "customers": CUSTOMERS, "types": TYPES, "errors": ERRORS,
            "kinds_of_errors": len(ERRORS),
        }  # fmt: skip
        execute(url, (ORIGINALS, values), (COPY, {"later": timedelta()}), (UNCOUNTED, ()))
        vacuum(url)

    def count(self) -> float:
        """Count the events of the first copy into the totals; return the events per second."""
        with own_work(self._app):
            started = time.perf_counter()
            counted = service.count()
            rate = counted / (time.perf_counter() - started)
        if counted != self.jobs // COPIES * EVENTS_OF_A_JOB:
            raise SystemExit(f"{counted} events were counted")
        return rate

    def add_copies(self) -> None:
        """Insert the other copies of the jobs, and add them to the totals."""
        with (
            without_indexes(self._url, "scrape_jobs", "job_events", *TOTALS),
            ThreadPoolExecutor(2) as pool,
        ):
            copies = [
                pool.submit(execute, self._url, (COPY, {"later": copy * self._shift}))
                for copy in range(1, COPIES)
            ]
            shift = {"shift": self._shift}
            totals = [
                pool.submit(execute, self._url, *((sql, shift) for sql in repeat_totals(table)))
                for table in TOTALS
            ]
            for task in (*copies, *totals):
                task.result()
        vacuum(self._url)
        with own_work(self._app):
            total = service.statistics(None, None, **EVERYTHING)["total"]
        if total != self.jobs:
            raise SystemExit(f"{total} jobs are in the totals")

    def read(self, window: dict[str, Any], times: int) -> float:
        """Return the mean duration of `times` reads of the statistics, in seconds."""
        with own_work(self._app):
            started = time.perf_counter()
            for _ in range(times):
                service.statistics(**window)
            return (time.perf_counter() - started) / times

    def close(self) -> None:
        """Close the connections to the database."""
        with own_work(self._app):
            self._app.extensions["sqlalchemy"].engine.dispose()
