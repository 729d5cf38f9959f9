"""One customer with very many endpoints and status changes beside a quiet one, over the real service."""

import json
import statistics
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg2
import pytest

from tests.conftest import migrate, new_database
from tests.receiver import Receiver
from tests.service import Service, wait_until

ALLOW = {"SCRAPE_JOBS_WEBHOOK_ALLOW": "127.0.0.0/8"}
FLOOD, QUIET = uuid.UUID(int=1), uuid.UUID(int=2)
ENDPOINTS, CHANGES, JOBS = 3000, 2000, 40
SECRET = "clear:whsec_" + "A" * 32

MAKE_ENDPOINTS = """
INSERT INTO webhook_endpoints (id, url, active, secret, customer_config_id, created_at, updated_at)
SELECT gen_random_uuid(), %(url)s, true, %(secret)s, %(customer)s::uuid, now(), now() FROM generate_series(1, %(count)s)
"""

# Jobs that have changed their status %(changes)s times in all, of which no webhook is made yet.
MAKE_CHANGES = """
WITH job AS (
    INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, priority, max_retries, status, version,
        created_at, updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), %(customer)s::uuid, 'flood.example', 'full', 5, 3, 'running', 1 + each.n,
        now(), now()
    FROM generate_series(1, %(jobs)s), (SELECT %(changes)s / %(jobs)s AS n) AS each RETURNING id, version
), event AS (
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes, stats)
    SELECT id, seq, now() - interval '1 minute' + seq * interval '1 ms', 'updated', 'pending', 'running', 'anonymous',
        '{}', %(stats)s
    FROM job, generate_series(2, version) AS seq RETURNING job_id, seq, at
)
INSERT INTO outbox (job_id, seq, created_at, customer) SELECT job_id, seq, at, %(customer)s::uuid FROM event
"""


class Ground:
    """A database of a test's own, filled by SQL: what takes the API minutes takes seconds here."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, {name: str(v) if isinstance(v, uuid.UUID) else v for name, v in values.items()})
            return cursor.fetchall() if cursor.description else []

    def endpoints(self, url: str, customer: uuid.UUID | None, count: int = 1) -> None:
        self.rows(MAKE_ENDPOINTS, url=url, secret=SECRET, customer=customer, count=count)

    def changes(self, customer: uuid.UUID, changes: int, jobs: int, stats: str = "{}") -> None:
        self.rows(MAKE_CHANGES, customer=customer, changes=changes, jobs=jobs, stats=stats)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def ground(server_url: str) -> Iterator[Ground]:
    for url in new_database(server_url):
        migrate(url)
        ground = Ground(url)
        yield ground
        ground.close()


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def quiet_lags(service: Service, receiver: Receiver, count: int) -> list[float]:
    """Change jobs of the quiet customer, and return the seconds from each change to its webhook."""
    heard = len(receiver.at("/quiet"))
    for _ in range(count):
        job = service.create(customer_config_id=str(QUIET))
        service.change(job["id"], status="running")
        time.sleep(0.1)
    arrived = receiver.wait_for("/quiet", heard + count, 30)[heard:]
    return [one.at - datetime.fromisoformat(json.loads(one.body)["timestamp"]).timestamp() for one in arrived]


@pytest.mark.parametrize("path", ["/flood", "/status/500", "/hang"])
def test_a_customers_flood_delays_no_other(ground: Ground, path: str) -> None:
    with Receiver() as receiver, Receiver() as other, Service(ground.url, **ALLOW) as service:
        ground.endpoints(f"{receiver.url}/quiet", QUIET)
        undisturbed = p95(quiet_lags(service, receiver, 20))
        ground.endpoints(f"{other.url}{path}", FLOOD, ENDPOINTS)
        ground.changes(FLOOD, CHANGES, JOBS)
        wait_until(lambda: ground.rows("SELECT 1 FROM webhook_deliveries OFFSET 1000 LIMIT 1"), 20)
        try:
            lags = quiet_lags(service, receiver, 40)
        finally:
            print([l[:300] for l in service.logs().splitlines() if '"WARNING"' in l or "rror" in l][:12])
        print(sorted(lags)[-8:], path, "undisturbed", undisturbed, "beside", p95(lags), max(lags), len(other.received),
            ground.rows("select count(*), count(*) filter (where status='pending'), (select count(*) from outbox) from webhook_deliveries"), service.logs().count("WARNING"))
        assert p95(lags) < max(1, 3 * undisturbed)
