"""Redelivery and replay of many deliveries, in steps: each call continues after the one before."""

import json
import time
import uuid
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.webhooks import bulk
from app.webhooks.fan_out import FanOut
from support.service import own_work
from support.webhooks import WebhookDatabase

HOOKS = "/api/webhooks"
ONE, OTHER = uuid.uuid4(), uuid.uuid4()
EVER = {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


@pytest.fixture
def app(webhook_database_app: Flask) -> Flask:
    """The application on the database of the module."""
    return webhook_database_app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def call(client: FlaskClient, path: str, body: Any, **headers: str) -> dict[str, Any]:
    answer = client.post(f"{HOOKS}/{path}", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    data: dict[str, Any] = answer.get_json()["data"]
    return data


def error(client: FlaskClient, path: str, body: Any, status: int = 400) -> str:
    answer = client.post(f"{HOOKS}/{path}", json=body)
    assert answer.status_code == status, answer.text
    return str(answer.get_json()["error"])


def deliver_all(app: Flask, webhook_database: WebhookDatabase) -> None:
    """Create all deliveries, and mark them as delivered."""
    with own_work(app):
        while FanOut().step().has_more:
            pass
    webhook_database.rows("UPDATE webhook_deliveries SET status = 'delivered', finished_at = now()")


@pytest.mark.timed
def test_a_large_redelivery_takes_several_calls(
    client: FlaskClient, webhook_database: WebhookDatabase
) -> None:
    (endpoint,) = webhook_database.endpoints()
    count = 119_999  # not a multiple of a step, so that the last step is known to be the last
    webhook_database.deliveries(endpoint, "failed", count)
    webhook_database.rows("ANALYZE webhook_deliveries")
    done, slowest, calls = 0, 0.0, 0
    while True:
        started = time.monotonic()
        answer = call(client, f"{endpoint}/redeliver", {"failed_since": "2024-01-01T00:00:00Z"})
        slowest, calls, done = (
            max(slowest, time.monotonic() - started),
            calls + 1,
            done + answer["redelivered"],
        )
        assert answer["redelivered"] > 0
        assert webhook_database.number("webhook_deliveries", "status = 'pending'") == done
        if not answer["remaining"]:
            break
    assert done == count
    assert slowest < bulk.REQUEST_SECONDS + 2


def test_with_a_key_one_call_is_one_transaction(
    client: FlaskClient, webhook_database: WebhookDatabase
) -> None:
    (endpoint,) = webhook_database.endpoints()
    webhook_database.deliveries(endpoint, "failed", 5000)
    body = {"failed_since": "2024-01-01T00:00:00Z"}
    first = call(client, f"{endpoint}/redeliver", body, **{"Idempotency-Key": "one"})
    assert first == {"redelivered": 5000, "remaining": False}
    webhook_database.rows("UPDATE webhook_deliveries SET status = 'failed', finished_at = now()")
    assert call(client, f"{endpoint}/redeliver", body, **{"Idempotency-Key": "one"}) == first
    assert webhook_database.number("webhook_deliveries", "status = 'failed'") == 5000


def test_deleting_an_endpoint_takes_bounded_time(
    client: FlaskClient, webhook_database: WebhookDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "REQUEST_SECONDS", 0.0)
    (endpoint,) = webhook_database.endpoints()
    webhook_database.deliveries(endpoint, "failed", 5000)
    assert client.delete(f"{HOOKS}/{endpoint}").status_code == 200
    assert 0 < webhook_database.number("webhook_deliveries") < 5000
    assert client.get(f"{HOOKS}/{endpoint}").status_code == 404


def test_a_replay_has_the_same_ids_and_bytes(
    app: Flask, client: FlaskClient, webhook_database: WebhookDatabase
) -> None:
    (endpoint,) = webhook_database.endpoints()
    webhook_database.changes(6, 2)
    deliver_all(app, webhook_database)
    known = "SELECT job_id, seq, id, body FROM webhook_deliveries ORDER BY job_id, seq"
    before = webhook_database.rows(known)
    webhook_database.rows("DELETE FROM webhook_deliveries WHERE seq = 3")
    assert call(client, f"{endpoint}/replay", EVER) == {
        "replayed": 6,
        "remaining": False,
        "next_cursor": None,
    }
    assert webhook_database.rows(known) == before
    assert webhook_database.number("webhook_deliveries", "status = 'pending' AND failures = 0") == 6
    assert call(client, f"{endpoint}/replay", EVER)["replayed"] == 6
    assert webhook_database.rows(known) == before


def test_a_replay_covers_the_time_of_inactivity(client: FlaskClient) -> None:
    endpoint = client.post(
        HOOKS, json={"url": "http://93.184.216.34/", "statuses": ["running"]}
    ).get_json()["data"]["id"]
    client.put(f"{HOOKS}/{endpoint}", json={"active": False})
    job = client.post("/api/scrape-jobs", json={"domain": "a.example"}).get_json()["data"]
    for status in ("running", "failed", "pending", "running"):
        client.put(f"/api/scrape-jobs/{job['id']}", json={"status": status})
    assert error(client, f"{endpoint}/replay", EVER, 409) == "Webhook is not active"
    client.put(f"{HOOKS}/{endpoint}", json={"active": True})
    assert call(client, f"{endpoint}/replay", EVER)["replayed"] == 2
    found = client.get(f"{HOOKS}/{endpoint}/deliveries").get_json()["data"]
    assert [(one["body"]["job_id"], one["body"]["new_status"]) for one in found] == [
        (job["id"], "running")
    ] * 2
    moment = found[0]["body"]["timestamp"]
    assert call(client, f"{endpoint}/replay", {"from": moment, "to": moment})["replayed"] == 0


def test_a_replay_before_the_fan_out_duplicates_nothing(
    app: Flask, client: FlaskClient, webhook_database: WebhookDatabase
) -> None:
    (endpoint,) = webhook_database.endpoints()
    webhook_database.changes(4, 2)
    assert call(client, f"{endpoint}/replay", EVER)["replayed"] == 4
    deliver_all(app, webhook_database)
    assert webhook_database.number("webhook_deliveries") == 4
    assert webhook_database.number("outbox") == 0


def test_a_replay_covers_only_the_endpoints_customer(
    client: FlaskClient, webhook_database: WebhookDatabase
) -> None:
    (endpoint,) = webhook_database.endpoints(1, ONE)
    mine = webhook_database.changes(3, 1, ONE)
    webhook_database.changes(3, 1, OTHER)
    webhook_database.changes(3, 1)
    assert call(client, f"{endpoint}/replay", EVER)["replayed"] == 3
    assert webhook_database.rows("SELECT DISTINCT job_id::text FROM webhook_deliveries") == [
        (mine[0],)
    ]


def test_a_replay_leaves_out_removed_jobs(
    client: FlaskClient, webhook_database: WebhookDatabase
) -> None:
    (endpoint,) = webhook_database.endpoints()
    gone, _ = webhook_database.changes(6, 2)
    webhook_database.rows("DELETE FROM scrape_jobs WHERE id = %(id)s", id=gone)
    assert call(client, f"{endpoint}/replay", EVER)["replayed"] == 3


def test_a_replay_continues_from_its_cursor(
    client: FlaskClient, webhook_database: WebhookDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(bulk, "STEP_ROWS", 4)
    (endpoint,) = webhook_database.endpoints()
    webhook_database.changes(10, 5)
    done, body, seen = 0, dict(EVER), []
    while True:
        answer = call(client, f"{endpoint}/replay", body)
        done += answer["replayed"]
        seen.append(webhook_database.number("webhook_deliveries"))
        if not answer["remaining"]:
            break
        body["cursor"] = answer["next_cursor"]
    assert (done, seen) == (10, [4, 8, 10])


MOMENT = "must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, f"Invalid from: {MOMENT}"),
        ({"from": "2024-01-01T00:00:00Z"}, f"Invalid to: {MOMENT}"),
        ({"from": EVER["to"], "to": EVER["from"]}, "Invalid to: must not be before from"),
        (
            {**EVER, "cursor": "x"},
            "Invalid cursor: must be the next_cursor of a page of the same list",
        ),
        ({**EVER, "until": 1}, "Unknown field: until"),
        ([], "Invalid body: must be a JSON object"),
    ],
)
def test_an_invalid_replay_is_rejected(
    client: FlaskClient, webhook_database: WebhookDatabase, body: Any, complaint: str
) -> None:
    (endpoint,) = webhook_database.endpoints()
    assert error(client, f"{endpoint}/replay", body) == complaint


def test_the_cursor_of_another_endpoint_is_rejected(
    client: FlaskClient, webhook_database: WebhookDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(bulk, "STEP_ROWS", 1)
    one, other = webhook_database.endpoints(2)
    webhook_database.changes(4, 2)
    cursor = call(client, f"{one}/replay", EVER)["next_cursor"]
    assert "cursor" in error(client, f"{other}/replay", {**EVER, "cursor": cursor})
    assert json.dumps(cursor)
