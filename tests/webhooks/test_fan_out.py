"""The fan-out and the claim: bounded steps, turns between customers, and the order of each job."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import UUID

import pytest
from flask import Flask

from app.config import Settings
from app.database import session_settings
from app.errors import DatabaseTimeout
from app.factory import create_app
from app.webhooks import dispatch_queries as queries
from app.webhooks import fan_out as fan_out_module
from app.webhooks.claims import ClaimedDelivery, ClaimLimits, EndpointShare
from app.webhooks.evaluation import AttemptResult
from app.webhooks.fan_out import MAX_CUSTOMERS_PER_STEP, MAX_DELIVERIES_PER_STEP, FanOut
from support.service import own_work
from support.webhooks import WebhookDatabase

ONE, OTHER = UUID(int=1), UUID(int=2)
CLAIM = uuid.uuid4()
PLENTY = ClaimLimits(1000, 1000, 1000)
ATTEMPT = {
    "at": "2024-01-01T00:00:00.000Z",
    "status_code": 200,
    "duration_ms": 1,
    "answer": "",
    "error": None,
}


@pytest.fixture
def app(webhook_database_app: Flask) -> Iterator[Flask]:
    """The application on the database of the module, in its context."""
    with own_work(webhook_database_app):
        yield webhook_database_app


def claim(limits: ClaimLimits = PLENTY, **shares: EndpointShare) -> list[ClaimedDelivery]:
    named = {UUID(name): share for name, share in shares.items()}
    batch = queries.claim(CLAIM, named, limits, 25)
    queries.resume(batch.postponed)
    return list(batch.deliveries)


def settle(
    *claimed: ClaimedDelivery, status: str = "delivered", wait_seconds: float | None = None
) -> None:
    queries.settle(CLAIM, [AttemptResult(one, status, ATTEMPT, wait_seconds) for one in claimed])
    if status != "pending":
        queries.resume([(one.job_id, one.endpoint_id) for one in claimed])


def fan_out_all() -> None:
    fan_out = FanOut()
    while True:
        step = fan_out.step()
        queries.resume(step.postponed)
        if not step.has_more:
            return


def test_a_step_creates_a_bounded_number_of_deliveries(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    webhook_database.endpoints(30)
    webhook_database.changes(200, 200)
    FanOut().step()
    assert 900 < webhook_database.number("webhook_deliveries") <= MAX_DELIVERIES_PER_STEP
    fan_out_all()
    assert webhook_database.number("webhook_deliveries") == 30 * 200
    assert webhook_database.number("outbox") == 0


def test_a_change_with_many_endpoints_takes_several_steps(
    app: Flask, webhook_database: WebhookDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out_module, "STEP_SECONDS", 60)  # steps of equal size on any machine
    endpoints = webhook_database.endpoints(2 * MAX_DELIVERIES_PER_STEP + 500)
    webhook_database.changes(1, 1)
    fan_out = FanOut()
    for done in (MAX_DELIVERIES_PER_STEP, 2 * MAX_DELIVERIES_PER_STEP):
        assert fan_out.step().has_more
        made = sorted(
            one
            for (one,) in webhook_database.rows("SELECT endpoint_id::text FROM webhook_deliveries")
        )
        assert made == endpoints[:done]
        assert webhook_database.rows("SELECT served_to::text FROM outbox") == [
            (endpoints[done - 1],)
        ]
    fan_out.step()
    assert webhook_database.number("webhook_deliveries") == len(endpoints)
    assert webhook_database.number("outbox") == 0
    assert not fan_out.step().has_more


def test_customers_share_a_step(app: Flask, webhook_database: WebhookDatabase) -> None:
    webhook_database.endpoints(100, ONE)
    webhook_database.endpoints(1, OTHER)
    webhook_database.changes(500, 500, ONE)
    webhook_database.changes(5, 5, OTHER)
    FanOut().step()
    assert webhook_database.number("outbox", "customer = %(customer)s", customer=OTHER) == 0
    assert webhook_database.number("outbox", "customer = %(customer)s", customer=ONE) >= 490


def test_the_next_step_continues_with_other_customers(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    for number in range(1, MAX_CUSTOMERS_PER_STEP + 11):
        webhook_database.changes(1, 1, UUID(int=number))
    fan_out = FanOut()
    assert fan_out.step().has_more
    assert webhook_database.number("outbox") == 10
    webhook_database.changes(1, 1, UUID(int=1))
    assert fan_out.step().has_more
    assert webhook_database.rows("SELECT customer::text FROM outbox") == [(str(UUID(int=1)),)]
    assert fan_out.step().has_more
    assert webhook_database.number("outbox") == 0


def test_a_timeout_makes_the_next_step_smaller(
    webhook_database: WebhookDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(session_settings.DEFAULTS, "statement_timeout", "150ms")
    app = create_app(
        Settings(database_url=webhook_database.url, auth="off", rate_limit=False, threads=4)
    )
    webhook_database.endpoints(100)
    webhook_database.changes(40, 40, stats='{"a": "%s"}' % ("ä" * 120_000))
    fan_out, timeouts = FanOut(), 0
    with own_work(app):
        for _ in range(2000):
            try:
                if not fan_out.step().has_more:
                    break
            except DatabaseTimeout:
                timeouts += 1
        app.extensions["sqlalchemy"].engine.dispose()
    assert timeouts
    assert webhook_database.number("webhook_deliveries") == 100 * 40


def test_concurrent_dispatchers_create_each_delivery_once(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    webhook_database.endpoints(7, ONE)
    webhook_database.endpoints(700, OTHER)
    webhook_database.changes(300, 30, ONE)
    webhook_database.changes(12, 4, OTHER)

    def run(_: int) -> None:
        with own_work(app):
            for _ in range(40):
                fan_out_all()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    fan_out_all()
    assert webhook_database.number("outbox") == 0
    assert webhook_database.number("webhook_deliveries") == 7 * 300 + 700 * 12


def test_a_change_waits_for_unserved_earlier_ones(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    endpoints = webhook_database.endpoints(4)
    (job,) = webhook_database.changes(2, 1)
    fan_out_all()
    webhook_database.rows("DELETE FROM webhook_deliveries WHERE seq = 2")
    webhook_database.rows(
        "INSERT INTO outbox (job_id, seq, created_at, served_to)"
        " VALUES (%(job)s, 2, now(), %(served)s)",
        job=job, served=endpoints[1],
    )  # fmt: skip
    webhook_database.rows("UPDATE webhook_deliveries SET next_try_at = now()")
    assert sorted(str(one.endpoint_id) for one in claim()) == endpoints[:2]
    fan_out_all()
    assert [one.seq for one in claim()] == [2, 2]


def test_the_deliveries_of_a_job_are_in_order(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    webhook_database.endpoints(3)
    webhook_database.changes(20, 4)
    fan_out_all()
    for seq in range(2, 7):
        found = claim()
        assert sorted({one.seq for one in found}) == [seq]
        assert len(found) == 12
        assert claim() == []
        settle(*found)
    assert claim() == []
    assert webhook_database.number("webhook_deliveries", "status = 'delivered'") == 60


def test_a_waiting_delivery_follows_a_failed_one(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    webhook_database.endpoints(1)
    webhook_database.changes(2, 1)
    fan_out_all()
    (first,) = claim()
    settle(first, status="pending", wait_seconds=600)
    assert claim() == []
    webhook_database.rows("UPDATE webhook_deliveries SET next_try_at = now() WHERE seq = 2")
    (first,) = claim()
    settle(first, status="failed")
    (second,) = claim()
    assert second.seq == 3


def test_a_waiting_delivery_is_postponed(app: Flask, webhook_database: WebhookDatabase) -> None:
    webhook_database.endpoints(1)
    webhook_database.changes(2, 1)
    fan_out_all()
    webhook_database.rows(
        "UPDATE webhook_deliveries SET next_try_at = now() + interval '2 hours', failures = 1"
        " WHERE seq = 2"
    )
    webhook_database.rows("UPDATE webhook_deliveries SET next_try_at = now() WHERE seq = 3")
    assert claim() == []
    assert webhook_database.rows("SELECT count(DISTINCT next_try_at) FROM webhook_deliveries") == [
        (1,)
    ]


def test_a_lost_resumption_delays_under_a_minute(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    webhook_database.endpoints(1)
    webhook_database.changes(2, 1)
    fan_out_all()
    (first,) = claim()
    # A dispatcher that is killed after this statement does not resume the second delivery.
    queries.settle(CLAIM, [AttemptResult(first, "delivered", ATTEMPT)])
    ((wait,),) = webhook_database.rows(
        "SELECT extract(epoch FROM next_try_at - now())::float FROM webhook_deliveries"
        " WHERE seq = 3"
    )
    assert 0 < wait < 60


def test_customers_take_turns_in_a_claim(app: Flask, webhook_database: WebhookDatabase) -> None:
    webhook_database.endpoints(100, ONE)
    webhook_database.changes(100, 100, ONE)
    fan_out_all()
    (other,) = webhook_database.endpoints(1, OTHER)
    webhook_database.changes(3, 3, OTHER)
    fan_out_all()
    found = claim(ClaimLimits(8, 10, 1000))
    assert len(found) == 8
    assert [str(one.endpoint_id) for one in found].count(other) == 3


def test_a_claim_bounds_untrusted_endpoints_of_a_customer(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    endpoints = webhook_database.endpoints(20, ONE)
    webhook_database.endpoints(20)
    webhook_database.changes(20, 20, ONE)
    fan_out_all()
    trusted = {endpoints[0]: EndpointShare(0, 5, True), endpoints[1]: EndpointShare(1, 5, False)}
    found = [str(one.endpoint_id) for one in claim(ClaimLimits(1000, 1, 4), **trusted)]
    assert found.count(endpoints[0]) == 5
    assert sum(endpoint in endpoints[1:] for endpoint in found) == 3
    assert sum(endpoint not in endpoints for endpoint in found) == 20


def test_a_claim_skips_locked_deliveries(app: Flask, webhook_database: WebhookDatabase) -> None:
    webhook_database.endpoints(1)
    webhook_database.changes(10, 10)
    fan_out_all()
    with ExitStack() as stack:
        stack.callback(webhook_database.rows, "ROLLBACK")
        webhook_database.rows("BEGIN")
        webhook_database.rows(
            "SELECT FROM webhook_deliveries ORDER BY next_try_at LIMIT 4 FOR UPDATE"
        )
        assert len(claim()) == 6
    assert len(claim()) == 4
