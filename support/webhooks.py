"""Inserts webhooks by SQL, much faster than through the API, and measures their delays."""

import json
import statistics
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg2

from support.database import migrate, new_database
from support.receiver import Received

ALLOW_LOOPBACK = {"SCRAPE_JOBS_WEBHOOK_ALLOW": "127.0.0.0/8"}
WITHOUT_DISPATCHER = {"SCRAPE_JOBS_WEBHOOK_DISPATCH": "off", "WEB_CONCURRENCY": "1"}
"""For a service beside which a test runs dispatchers of its own."""

BODY_FIELDS = ["event", "job_id", "domain", "old_status", "new_status", "stats", "timestamp"]

SECRET = "clear:whsec_" + "A" * 32

INSERT_ENDPOINTS = """
INSERT INTO webhook_endpoints (id, url, active, secret, customer_config_id, created_at, updated_at)
SELECT gen_random_uuid(), %(url)s, true, %(secret)s, %(customer)s::uuid, now(), now()
FROM generate_series(1, %(count)s) RETURNING id::text
"""

# Jobs with %(changes)s status changes in all, whose deliveries are not created yet.
INSERT_CHANGES = """
WITH job AS (
    INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, priority,
        max_retries, status, version, created_at, updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), %(customer)s::uuid, 'flood.example', 'full', 5,
        3, 'running', 1 + %(changes)s / %(jobs)s, now(), now()
    FROM generate_series(1, %(jobs)s) RETURNING id, version
), event AS (
    INSERT INTO job_events
        (job_id, seq, at, action, old_status, new_status, actor_type, changes, stats)
    SELECT id, seq, now() - interval '1 minute' + (seq + random() * 0.9) * interval '1 ms',
        'updated', 'pending', 'running', 'anonymous', '{}', %(stats)s
    FROM job, generate_series(2, version) AS seq RETURNING job_id, seq, at
)
INSERT INTO outbox (job_id, seq, created_at, customer)
SELECT job_id, seq, at, coalesce(%(customer)s::uuid, '00000000-0000-0000-0000-000000000000')
FROM event
RETURNING job_id::text
"""

INSERT_DELIVERIES = """
INSERT INTO webhook_deliveries
    (job_id, seq, endpoint_id, id, body, status, next_try_at, created_at, finished_at)
SELECT gen_random_uuid(), 2, %(endpoint)s, gen_random_uuid(), %(body)s, %(status)s, now(),
    now() - n * interval '1 ms',
    CASE WHEN %(status)s <> 'pending' THEN now() - n * interval '1 ms' END
FROM generate_series(1, %(count)s) AS n
"""


class WebhookDatabase:
    """A test's own database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self._connection.cursor() as cursor:
            named = {name: str(v) if isinstance(v, uuid.UUID) else v for name, v in values.items()}
            cursor.execute(sql, named or None)
            return cursor.fetchall() if cursor.description else []

    def endpoints(
        self, count: int = 1, customer: uuid.UUID | None = None, url: str = "http://127.0.0.1:9/"
    ) -> list[str]:
        """Insert endpoints and return their ids."""
        made = self.rows(INSERT_ENDPOINTS, url=url, secret=SECRET, customer=customer, count=count)
        return sorted(endpoint for (endpoint,) in made)

    def changes(
        self, changes: int, jobs: int, customer: uuid.UUID | None = None, stats: str = "{}"
    ) -> list[str]:
        """Insert jobs with status changes in the outbox, and return the ids of the jobs."""
        made = self.rows(INSERT_CHANGES, customer=customer, changes=changes, jobs=jobs, stats=stats)
        return sorted({job for (job,) in made})

    def deliveries(self, endpoint: str, status: str, count: int) -> None:
        """Insert deliveries of as many jobs, each a millisecond older than the one before."""
        values = {"endpoint": endpoint, "status": status, "count": count}
        self.rows(INSERT_DELIVERIES, body="{}", **values)

    def number(self, table: str, condition: str = "true", **values: Any) -> int:
        """Return the number of rows of `table` that meet a condition."""
        return int(self.rows(f"SELECT count(*) FROM {table} WHERE {condition}", **values)[0][0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def new_webhook_database(server_url: str) -> Iterator[WebhookDatabase]:
    """Create an empty database with the schema, and drop it afterwards."""
    for url in new_database(server_url):
        migrate(url)
        webhook_database = WebhookDatabase(url)
        yield webhook_database
        webhook_database.close()


def insert_backlog(database_url: str, webhook_id: str, count: int) -> None:
    """Insert pending deliveries to an endpoint, of as many jobs; all are due."""
    body = json.dumps(dict.fromkeys(BODY_FIELDS))
    values = {"endpoint": webhook_id, "status": "pending", "count": count, "body": body}
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(INSERT_DELIVERIES, values)
    connection.close()


def delay_seconds(received: Received) -> float:
    """Return the seconds between the status change and the arrival of its message."""
    changed_at = datetime.fromisoformat(json.loads(received.body)["timestamp"])
    return received.at - changed_at.timestamp()


def p95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]
