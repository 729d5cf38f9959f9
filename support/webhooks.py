"""Fills a database with webhooks by SQL: what takes the API minutes takes seconds here."""

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg2

from support.database import migrate, new_database

SECRET = "clear:whsec_" + "A" * 32

MAKE_ENDPOINTS = """
INSERT INTO webhook_endpoints (id, url, active, secret, customer_config_id, created_at, updated_at)
SELECT gen_random_uuid(), %(url)s, true, %(secret)s, %(customer)s::uuid, now(), now()
FROM generate_series(1, %(count)s) RETURNING id::text
"""

# Jobs that have changed their status %(changes)s times in all, of which no delivery is made yet.
MAKE_CHANGES = """
WITH job AS (
    INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, priority, max_retries, status,
        version, created_at, updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), %(customer)s::uuid, 'flood.example', 'full', 5, 3, 'running',
        1 + %(changes)s / %(jobs)s, now(), now()
    FROM generate_series(1, %(jobs)s) RETURNING id, version
), event AS (
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes, stats)
    SELECT id, seq, now() - interval '1 minute' + (seq + random() * 0.9) * interval '1 ms', 'updated', 'pending',
        'running', 'anonymous', '{}', %(stats)s
    FROM job, generate_series(2, version) AS seq RETURNING job_id, seq, at
)
INSERT INTO outbox (job_id, seq, created_at, customer)
SELECT job_id, seq, at, coalesce(%(customer)s::uuid, '00000000-0000-0000-0000-000000000000') FROM event
RETURNING job_id::text
"""

MAKE_DELIVERIES = """
INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, status, next_try_at, created_at, finished_at)
SELECT gen_random_uuid(), 2, %(endpoint)s, gen_random_uuid(), '{}', %(status)s, now(),
    now() - n * interval '1 ms', CASE WHEN %(status)s <> 'pending' THEN now() - n * interval '1 ms' END
FROM generate_series(1, %(count)s) AS n
"""


class Ground:
    """A database of a test's own."""

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
        """Make endpoints and return their ids."""
        made = self.rows(MAKE_ENDPOINTS, url=url, secret=SECRET, customer=customer, count=count)
        return sorted(endpoint for (endpoint,) in made)

    def changes(
        self, changes: int, jobs: int, customer: uuid.UUID | None = None, stats: str = "{}"
    ) -> list[str]:
        """Make jobs with status changes that wait in the outbox, and return their ids."""
        made = self.rows(MAKE_CHANGES, customer=customer, changes=changes, jobs=jobs, stats=stats)
        return sorted({job for (job,) in made})

    def deliveries(self, endpoint: str, status: str, count: int) -> None:
        """Make deliveries of as many jobs, each a millisecond older than the one before."""
        self.rows(MAKE_DELIVERIES, endpoint=endpoint, status=status, count=count)

    def number(self, table: str, condition: str = "true", **values: Any) -> int:
        """Return how many rows of `table` meet a condition."""
        return int(self.rows(f"SELECT count(*) FROM {table} WHERE {condition}", **values)[0][0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def new_ground(server_url: str) -> Iterator[Ground]:
    """Make an empty database with the schema, and drop it in the end."""
    for url in new_database(server_url):
        migrate(url)
        ground = Ground(url)
        yield ground
        ground.close()
