"""A customer with very many endpoints and status changes does not delay the webhooks of another."""

import time
import uuid
from collections.abc import Iterator

import pytest

from support.receiver import Receiver
from support.service import Service, wait_until
from support.webhooks import (
    ALLOW_LOOPBACK,
    WebhookDatabase,
    delay_seconds,
    new_webhook_database,
    p95,
)

FLOOD, QUIET = uuid.UUID(int=1), uuid.UUID(int=2)
ENDPOINTS, CHANGES, JOBS = 3000, 2000, 40


@pytest.fixture
def webhook_database(server_url: str) -> Iterator[WebhookDatabase]:
    yield from new_webhook_database(server_url)


def measure_delays(service: Service, receiver: Receiver, count: int) -> list[float]:
    """Change jobs of the quiet customer; return the seconds from each change to its message."""
    before = len(receiver.at("/quiet"))
    for _ in range(count):
        job = service.create(customer_config_id=str(QUIET))
        service.change(job["id"], status="running")
        time.sleep(0.1)
    arrived = receiver.wait_for("/quiet", before + count, 60)[before:]
    return [delay_seconds(one) for one in arrived]


@pytest.mark.timed
@pytest.mark.parametrize("path", ["/flood", "/status/500", "/hang"])
def test_a_customers_flood_delays_no_other_customer(
    webhook_database: WebhookDatabase, path: str
) -> None:
    with (
        Receiver() as receiver,
        Receiver() as other,
        Service(webhook_database.url, **ALLOW_LOOPBACK) as service,
    ):
        webhook_database.endpoints(1, QUIET, f"{receiver.url}/quiet")
        undisturbed = p95(measure_delays(service, receiver, 20))
        webhook_database.endpoints(ENDPOINTS, FLOOD, f"{other.url}{path}")
        webhook_database.changes(CHANGES, JOBS, FLOOD)
        wait_until(lambda: webhook_database.number("webhook_deliveries") > 1000, 30)
        delays = measure_delays(service, receiver, 40)
        # 0.2 to 0.3 s on an idle machine; without turns between customers it was minutes.
        assert p95(delays) < max(10, 5 * undisturbed), sorted(delays)[-5:]
        assert webhook_database.number("outbox") > CHANGES / 2
        assert webhook_database.number("webhook_deliveries") > 5000
        assert len(other.received) > 5
        assert "Database connection timeout" not in service.logs()


@pytest.mark.timed
def test_one_job_with_many_changes_delays_no_other(webhook_database: WebhookDatabase) -> None:
    with Receiver() as receiver, Service(webhook_database.url, **ALLOW_LOOPBACK) as service:
        webhook_database.endpoints(1, QUIET, f"{receiver.url}/quiet")
        undisturbed = p95(measure_delays(service, receiver, 20))
        # Of each job and endpoint the first delivery fails, and all others wait for it.
        webhook_database.endpoints(20, FLOOD)
        webhook_database.changes(4000, 2, FLOOD)
        wait_until(lambda: webhook_database.number("webhook_deliveries") > 40_000, 60)
        delays = measure_delays(service, receiver, 40)
        assert p95(delays) < max(10, 5 * undisturbed), sorted(delays)[-5:]
        # Deliveries that wait are postponed, so that not every claim examines them.
        assert (
            webhook_database.number(
                "webhook_deliveries", "status = 'pending' AND next_try_at <= now()"
            )
            < 1000
        )
