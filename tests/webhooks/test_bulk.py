"""Redelivery and replay of many deliveries, in steps: each call continues after the one before."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.config import Settings
from app.factory import create_app
from app.webhooks import bulk
from app.webhooks.fan_out import FanOut
from support.service import own_work
from support.webhooks import Ground, new_ground

HOOKS = "/api/webhooks"
ONE, OTHER = uuid.uuid4(), uuid.uuid4()
EVER = {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def own_ground(server_url: str) -> Iterator[Ground]:
    yield from new_ground(server_url)


@pytest.fixture
def ground(own_ground: Ground) -> Ground:
    own_ground.rows(
        "TRUNCATE scrape_jobs, job_events, outbox, webhook_endpoints, webhook_deliveries,"
        " idempotency_keys"
    )
    return own_ground


@pytest.fixture
def app(ground: Ground) -> Iterator[Flask]:
    app = create_app(Settings(database_url=ground.url, auth="off", rate_limit=False, threads=4))
    yield app
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


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


def deliver_all(app: Flask, ground: Ground) -> None:
    """Create all deliveries, and mark them as delivered."""
    with own_work(app):
        while FanOut().step().has_more:
            pass
    ground.rows("UPDATE webhook_deliveries SET status = 'delivered', finished_at = now()")


def test_a_large_redelivery_takes_several_calls(client: FlaskClient, ground: Ground) -> None:
    (endpoint,) = ground.endpoints()
    count = 120_000
    ground.deliveries(endpoint, "failed", count)
    ground.rows("ANALYZE webhook_deliveries")
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
        assert ground.number("webhook_deliveries", "status = 'pending'") == done
        if not answer["remaining"]:
            break
    assert done == count
    assert slowest < bulk.REQUEST_SECONDS + 2


def test_with_a_key_one_call_is_one_transaction(client: FlaskClient, ground: Ground) -> None:
    (endpoint,) = ground.endpoints()
    ground.deliveries(endpoint, "failed", 5000)
    body = {"failed_since": "2024-01-01T00:00:00Z"}
    first = call(client, f"{endpoint}/redeliver", body, **{"Idempotency-Key": "one"})
    assert first == {"redelivered": 5000, "remaining": False}
    ground.rows("UPDATE webhook_deliveries SET status = 'failed', finished_at = now()")
    assert call(client, f"{endpoint}/redeliver", body, **{"Idempotency-Key": "one"}) == first
    assert ground.number("webhook_deliveries", "status = 'failed'") == 5000


def test_deleting_an_endpoint_takes_bounded_time(
    client: FlaskClient, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "REQUEST_SECONDS", 0.0)
    (endpoint,) = ground.endpoints()
    ground.deliveries(endpoint, "failed", 5000)
    assert client.delete(f"{HOOKS}/{endpoint}").status_code == 200
    assert 0 < ground.number("webhook_deliveries") < 5000
    assert client.get(f"{HOOKS}/{endpoint}").status_code == 404


def test_a_replay_has_the_same_ids_and_bytes(
    app: Flask, client: FlaskClient, ground: Ground
) -> None:
    (endpoint,) = ground.endpoints()
    ground.changes(6, 2)
    deliver_all(app, ground)
    known = "SELECT job_id, seq, id, body FROM webhook_deliveries ORDER BY job_id, seq"
    before = ground.rows(known)
    ground.rows("DELETE FROM webhook_deliveries WHERE seq = 3")
    assert call(client, f"{endpoint}/replay", EVER) == {
        "replayed": 6,
        "remaining": False,
        "next_cursor": None,
    }
    assert ground.rows(known) == before
    assert ground.number("webhook_deliveries", "status = 'pending' AND failures = 0") == 6
    assert call(client, f"{endpoint}/replay", EVER)["replayed"] == 6
    assert ground.rows(known) == before


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
    app: Flask, client: FlaskClient, ground: Ground
) -> None:
    (endpoint,) = ground.endpoints()
    ground.changes(4, 2)
    assert call(client, f"{endpoint}/replay", EVER)["replayed"] == 4
    deliver_all(app, ground)
    assert ground.number("webhook_deliveries") == 4
    assert ground.number("outbox") == 0


def test_a_replay_covers_only_the_endpoints_customer(client: FlaskClient, ground: Ground) -> None:
    (endpoint,) = ground.endpoints(1, ONE)
    mine = ground.changes(3, 1, ONE)
    ground.changes(3, 1, OTHER)
    ground.changes(3, 1)
    assert call(client, f"{endpoint}/replay", EVER)["replayed"] == 3
    assert ground.rows("SELECT DISTINCT job_id::text FROM webhook_deliveries") == [(mine[0],)]


def test_a_replay_leaves_out_removed_jobs(client: FlaskClient, ground: Ground) -> None:
    (endpoint,) = ground.endpoints()
    gone, _ = ground.changes(6, 2)
    ground.rows("DELETE FROM scrape_jobs WHERE id = %(id)s", id=gone)
    assert call(client, f"{endpoint}/replay", EVER)["replayed"] == 3


def test_a_replay_continues_from_its_cursor(
    client: FlaskClient, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(bulk, "STEP_ROWS", 4)
    (endpoint,) = ground.endpoints()
    ground.changes(10, 5)
    done, body, seen = 0, dict(EVER), []
    while True:
        answer = call(client, f"{endpoint}/replay", body)
        done += answer["replayed"]
        seen.append(ground.number("webhook_deliveries"))
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
    client: FlaskClient, ground: Ground, body: Any, complaint: str
) -> None:
    (endpoint,) = ground.endpoints()
    assert error(client, f"{endpoint}/replay", body) == complaint


def test_the_cursor_of_another_endpoint_is_rejected(
    client: FlaskClient, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(bulk, "STEP_ROWS", 1)
    one, other = ground.endpoints(2)
    ground.changes(4, 2)
    cursor = call(client, f"{one}/replay", EVER)["next_cursor"]
    assert "cursor" in error(client, f"{other}/replay", {**EVER, "cursor": cursor})
    assert json.dumps(cursor)
