"""Removal of deliveries without a job or endpoint, and of expired idempotency keys."""

import pytest
from click.testing import Result
from flask import Flask

from app.config import Settings
from app.database import session_settings
from app.factory import create_app
from app.idempotency.keys import PRUNE_BATCH
from support.service import own_work
from support.webhooks import WebhookDatabase

CUTOFF_DAYS = 90

# Makes the removal of few deliveries exceed the statement timeout.
SLOW_REMOVAL = """
CREATE OR REPLACE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(0.001); RETURN OLD; END';
CREATE TRIGGER slow BEFORE DELETE ON webhook_deliveries FOR EACH ROW EXECUTE FUNCTION sleep()
"""


@pytest.fixture
def app(webhook_database_app: Flask) -> Flask:
    """The application on the database of the module."""
    return webhook_database_app


def prune(app: Flask, *options: str) -> Result:
    result = app.test_cli_runner().invoke(
        args=["jobs", "prune", "--older-than", f"{CUTOFF_DAYS}d", *options]
    )
    assert result.exit_code == 0, result.output
    return result


def age(webhook_database: WebhookDatabase, condition: str, days: int) -> None:
    webhook_database.rows(
        f"UPDATE webhook_deliveries SET created_at = now() - interval '{days} days' WHERE {condition}"
    )


def test_only_old_test_deliveries_are_removed(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    client = app.test_client()
    hook = client.post("/api/webhooks", json={"url": "http://93.184.216.34/"}).get_json()["data"][
        "id"
    ]
    ids = [client.post(f"/api/webhooks/{hook}/test").get_json()["data"]["id"] for _ in range(3)]
    webhook_database.rows(
        "UPDATE webhook_deliveries SET status = 'delivered', finished_at = now() WHERE id = %(id)s",
        id=ids[0],
    )
    age(webhook_database, f"id IN ('{ids[0]}', '{ids[1]}')", 100)
    age(webhook_database, f"id = '{ids[2]}'", 80)
    assert "Would remove 2 webhook deliveries" in prune(app, "--dry-run").stderr
    assert webhook_database.number("webhook_deliveries") == 3
    assert "Removed 2 webhook deliveries" in prune(app).stderr
    assert webhook_database.rows("SELECT id::text FROM webhook_deliveries") == [(ids[2],)]
    assert prune(app).stderr.count("webhook deliveries") == 0


def test_deliveries_of_deleted_endpoints_are_removed(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    kept, gone = webhook_database.endpoints(2)
    for endpoint in (kept, gone):
        for status in ("pending", "delivered", "failed"):
            webhook_database.deliveries(endpoint, status, 3000)
    webhook_database.rows("DELETE FROM webhook_endpoints WHERE id = %(id)s", id=gone)
    prune(app)
    assert webhook_database.rows(
        "SELECT endpoint_id::text, count(*) FROM webhook_deliveries GROUP BY 1"
    ) == [(kept, 9000)]


def test_inactive_endpoint_retains_no_job(app: Flask, webhook_database: WebhookDatabase) -> None:
    active, inactive = webhook_database.endpoints(2)
    jobs = {endpoint: webhook_database.changes(1, 1)[0] for endpoint in (active, inactive)}
    for endpoint, job in jobs.items():
        webhook_database.deliveries(endpoint, "pending", 1)
        webhook_database.rows(
            "UPDATE webhook_deliveries SET job_id = %(j)s WHERE endpoint_id = %(e)s",
            j=job,
            e=endpoint,
        )
    webhook_database.rows(
        "UPDATE webhook_endpoints SET active = false WHERE id = %(id)s", id=inactive
    )
    webhook_database.rows(
        "TRUNCATE outbox; UPDATE job_events SET at = now() - interval '100 days';"
        " UPDATE scrape_jobs SET status = 'failed', completed_at = now(), updated_at = now() - interval '100 days'"
    )
    age(webhook_database, "true", 100)
    assert prune(app).stdout == "Removed 1 job; kept 1 job of that age.\n"
    assert webhook_database.rows("SELECT id::text FROM scrape_jobs") == [(jobs[active],)]
    assert webhook_database.number("webhook_deliveries") == 1


def test_deliveries_of_jobs_that_stay_are_kept(
    app: Flask, webhook_database: WebhookDatabase
) -> None:
    (endpoint,) = webhook_database.endpoints()
    (job,) = webhook_database.changes(1, 1)
    webhook_database.deliveries(endpoint, "delivered", 1)
    webhook_database.rows("UPDATE webhook_deliveries SET job_id = %(job)s", job=job)
    age(webhook_database, "true", 1000)
    prune(app)
    assert webhook_database.number("webhook_deliveries") == 1


def test_expired_idempotency_keys_go(app: Flask, webhook_database: WebhookDatabase) -> None:
    webhook_database.rows(
        "INSERT INTO idempotency_keys (caller, key, fingerprint, created_at)"
        " SELECT '', n::text, '', now() - n * interval '1 hour' FROM generate_series(1, 5000) AS n"
    )
    assert "4977 expired idempotency keys" in prune(app).stderr
    assert webhook_database.number("idempotency_keys") == 23
    assert PRUNE_BATCH < 4977


def test_job_with_many_deliveries_is_removed(
    webhook_database: WebhookDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    (endpoint,) = webhook_database.endpoints()
    (job,) = webhook_database.changes(1, 1)
    webhook_database.rows(
        "INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, status, next_try_at, created_at)"
        " SELECT %(job)s::uuid, n, %(endpoint)s::uuid, gen_random_uuid(), '{}', 'delivered', now(), now()"
        " FROM generate_series(1, 1200) AS n",
        job=job,
        endpoint=endpoint,
    )
    webhook_database.rows(
        "TRUNCATE outbox; UPDATE job_events SET at = now() - interval '100 days';"
        " UPDATE scrape_jobs SET status = 'failed', completed_at = now(), updated_at = now() - interval '100 days'"
    )
    webhook_database.rows(SLOW_REMOVAL)
    monkeypatch.setitem(session_settings.DEFAULTS, "statement_timeout", "1s")
    app = create_app(
        Settings(database_url=webhook_database.url, auth="off", rate_limit=False, threads=4)
    )
    assert prune(app).stdout == "Removed 1 job; kept 0 jobs of that age.\n"
    assert webhook_database.number("webhook_deliveries") == 0
    with own_work(app):
        app.extensions["sqlalchemy"].engine.dispose()
    webhook_database.rows("DROP TRIGGER slow ON webhook_deliveries")
