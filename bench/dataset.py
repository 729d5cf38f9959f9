"""A database that has grown for a month: jobs in all stages, and ten events for each.

The documents of the jobs are those of the examples in docs/api.md and the tutorial. The events have
realistic sizes; their content is the same for all jobs, and their hashes are no valid chain.
"""

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import psycopg2

from bench.ground import TIME_ORDERED_ID, execute, vacuum, without_indexes

EVENTS_OF_A_JOB = 10
MAX_RUNNING = 10_000
"""Jobs that run at the same time. Their number follows the workers, not the age of the database;
the sweeper reads them every second."""

DOMAINS = 500
SAMPLE = 20_000
"""How many jobs of a kind the requests address at most."""

SLICE = 25_000
"""Jobs that one statement inserts."""

WORKER = "bench"
"""The prefix of the names of the workers that claim jobs here."""

CONFIG = {
    "depth": 3, "maxPages": 150, "timeout": 30000, "respectRobots": True,
    "includeSubdomains": False, "userAgent": "CustomBot/1.0",
}  # fmt: skip
METADATA = {
    "source": "api", "tags": ["ecommerce", "high-priority"], "requestedBy": "user@example.com",
    "estimatedDuration": 300,
}  # fmt: skip
STATS = {
    "pagesProcessed": 45, "totalPages": 150, "successfulRequests": 44, "failedRequests": 1,
    "avgResponseTime": 1200, "dataExtracted": {"products": 156, "images": 234, "links": 89},
}  # fmt: skip

CHANGES = {
    "stats.pagesProcessed": {"from": 35, "to": 45},
    "stats.successfulRequests": {"from": 34, "to": 44},
}

FILL = f"""
    WITH job AS (
        INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, status,
            priority, max_retries, config, metadata, stats, worker_id, started_at, completed_at,
            created_at, updated_at, version, status_seq, chain)
        SELECT {TIME_ORDERED_ID}, md5('d' || d)::uuid, md5('c' || d %% 50)::uuid,
            'd' || d || '.example', 'domain_scrape', status, 1 + n %% 10, 3, %(config)s,
            %(metadata)s, CASE status WHEN 'pending' THEN '{{}}' ELSE %(stats)s::jsonb END,
            CASE status WHEN 'pending' THEN NULL ELSE 'worker-' || d END,
            CASE status WHEN 'pending' THEN NULL ELSE at + interval '1 minute' END,
            CASE status WHEN 'completed' THEN at + interval '5 minutes' END,
            at, at + interval '5 minutes', %(events)s, 2, sha256(int4send(n))
        FROM (
            SELECT n, floor(%(domains)s * random() ^ 2)::int AS d,
                CASE WHEN n %% %(running_every)s = 1 THEN 'running' WHEN n %% 4 = 3 THEN 'pending'
                    ELSE 'completed' END AS status,
                now() - interval '30 days' * (1 - n::float8 / (%(jobs)s + 1))
                    - interval '5 minutes' AS at
            FROM generate_series(%(first)s, %(last)s) AS n
        ) AS new
        RETURNING id, status, created_at, stats, chain
    ), event AS MATERIALIZED (
        SELECT seq, seq * interval '30 seconds' AS after, gen_random_uuid()::text AS request_id,
            nullif(least(seq - 1, 2), 0) AS previous_seq,
            CASE seq WHEN 1 THEN 'created' WHEN 2 THEN 'claimed' ELSE 'updated' END AS action,
            CASE seq WHEN 1 THEN NULL WHEN 2 THEN 'pending' ELSE 'running' END AS old_status,
            CASE seq WHEN 1 THEN 'pending' WHEN %(events)s THEN NULL ELSE 'running' END AS status
        FROM generate_series(1, %(events)s) AS seq
    )
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type,
        request_id, address, changes, stats, previous_seq, retry_count, hash)
    SELECT j.id, e.seq, j.created_at + e.after, e.action, e.old_status,
        coalesce(e.status, j.status), 'anonymous', e.request_id, '192.0.2.17', %(changes)s,
        CASE WHEN e.seq IN (1, 2, %(events)s) THEN j.stats END, e.previous_seq,
        CASE WHEN e.seq IN (1, 2, %(events)s) THEN 0 END, j.chain
    FROM job j CROSS JOIN event e"""  # noqa: S608 - made of constants
"""Inserts the jobs with the numbers from `first` to `last`, and their events.

A quarter of the jobs are pending, a quarter run, but at most MAX_RUNNING, and the others are
completed.
"""

IDS = """SELECT id::text FROM scrape_jobs WHERE status = %s ORDER BY random() LIMIT %s"""

FORGET_CREATED = """
    WITH created AS (DELETE FROM scrape_jobs WHERE created_at >= %s RETURNING id)
    DELETE FROM job_events e USING created WHERE e.job_id = created.id"""

RESTORE_CLAIMED = """
    UPDATE scrape_jobs SET status = 'pending', worker_id = NULL, lease_token = NULL,
        lease_seconds = NULL, lease_expires_at = NULL, started_at = NULL
    WHERE (status = 'running') IS TRUE AND starts_with(worker_id, %s)"""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A filled database.

    Attributes:
        url: The URL of the database.
        jobs: The number of jobs.
        completed: Ids of completed jobs, in a random order.
        running: Ids of running jobs, in a random order.
        filled_at: When it was filled, by PostgreSQL's clock.
    """

    url: str
    jobs: int
    completed: list[str]
    running: list[str]
    filled_at: object

    def count(self, status: str) -> int:
        """Return how many jobs have the status."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM scrape_jobs WHERE status = %s", (status,))
            ((jobs,),) = cursor.fetchall()
        connection.close()
        return int(jobs)

    def restore(self) -> None:
        """Delete the jobs that requests created, and return the claimed ones to the queue.

        No server may run on the database.
        """
        execute(
            self.url,
            (RESTORE_CLAIMED, (WORKER,)),
            (FORGET_CREATED, (self.filled_at,)),
            ("TRUNCATE outbox, uncounted_events", ()),
        )
        vacuum(self.url)


def fill(url: str, jobs: int, progress: Callable[[int], None]) -> Dataset:
    """Fill an empty database that has the schema.

    Args:
        url: The URL of the database.
        jobs: The number of jobs.
        progress: Is called with the number of jobs that are inserted so far.
    """
    inserted, lock = 0, Lock()

    def insert(first: int) -> None:
        nonlocal inserted
        last = min(first + SLICE - 1, jobs)
        values = {
            "first": first, "last": last, "jobs": jobs, "events": EVENTS_OF_A_JOB,
            "running_every": 4 * math.ceil(jobs / 4 / MAX_RUNNING), "domains": DOMAINS,
            "config": json.dumps(CONFIG), "metadata": json.dumps(METADATA),
            "stats": json.dumps(STATS), "changes": json.dumps(CHANGES),
        }  # fmt: skip
        execute(url, (FILL, values))
        with lock:
            inserted += last - first + 1
            progress(inserted)

    with without_indexes(url, "scrape_jobs", "job_events"), ThreadPoolExecutor(2) as pool:
        list(pool.map(insert, range(1, jobs + 1, SLICE)))
    vacuum(url)
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        samples = {}
        for status in ("completed", "running"):
            cursor.execute(IDS, (status, SAMPLE))
            samples[status] = [job_id for (job_id,) in cursor.fetchall()]
        cursor.execute("SELECT now()")
        ((now,),) = cursor.fetchall()
    connection.close()
    return Dataset(url, jobs, samples["completed"], samples["running"], now)
