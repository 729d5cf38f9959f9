"""The deliveries in the webhooks' API: test events, recorded attempts, lists."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from support.factories import make_job, new_domain
from support.receiver import Receiver
from support.service import wait_until
from support.webhook_api import (
    CURSOR,
    DELIVERY_FIELDS,
    KEY,
    TIMESTAMP,
    WEBHOOKS,
    Query,
    create_webhook,
    data,
    dispatching,
    get_webhook,
    insert_delivery,
    list_deliveries,
    refusal,
)

pytestmark = pytest.mark.usefixtures("query")


def test_a_test_event_has_the_form_of_events(client: FlaskClient) -> None:
    made = create_webhook(client, statuses=["cancelled"], domains=["nothing.example"])
    enqueued = data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    assert list(enqueued) == DELIVERY_FIELDS
    assert (
        enqueued["webhook_id"],
        enqueued["status"],
        enqueued["tries"],
        enqueued["finished_at"],
    ) == (
        made["id"],
        "pending",
        [],
        None,
    )
    assert enqueued["body"] == {
        "event": "webhook_test",
        "job_id": enqueued["job_id"],
        "domain": "example.com",
        "old_status": "running",
        "new_status": "completed",
        "stats": {},
        "timestamp": enqueued["body"]["timestamp"],
    }
    assert TIMESTAMP.fullmatch(enqueued["body"]["timestamp"])
    assert list_deliveries(client, made) == [enqueued]


def test_a_delivery_shows_each_attempt(
    app: Flask, client: FlaskClient, query: Query, receiver: Receiver
) -> None:
    replies: list[tuple[int, dict[str, str], bytes]] = [
        (500, {}, b"\xff\xfe\x00 broken Authorization: Bearer abc\n" + b"x" * 5000),
        (302, {"Location": "/ok"}, b""),
        (201, {}, "schön".encode()),
    ]
    receiver.answer = lambda count: replies[count - 1]
    made = create_webhook(client, url=f"{receiver.url}/answer")
    enqueued = data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    with dispatching(app, KEY):
        for tries in (1, 2, 3):
            wait_until(lambda tries=tries: len(list_deliveries(client, made)[0]["tries"]) == tries)  # type: ignore[misc]
            query("UPDATE webhook_deliveries SET next_try_at = now() WHERE status = 'pending'")
    (delivery,) = list_deliveries(client, made)
    assert (delivery["status"], delivery["next_try_at"]) == ("delivered", None)
    assert TIMESTAMP.fullmatch(delivery["finished_at"])
    assert {received.id for received in receiver.received} == {enqueued["id"]}
    for one in delivery["tries"]:
        assert set(one) == {"at", "status_code", "duration_ms", "answer", "error"}
        assert TIMESTAMP.fullmatch(one["at"])
        assert 0 <= one["duration_ms"] < 10_000
        assert one["error"] is None
    assert [one["status_code"] for one in delivery["tries"]] == [500, 302, 201]
    first, second, third = (one["answer"] for one in delivery["tries"])
    assert 100 < len(first.encode()) <= 1024 + 8
    assert "\x00" not in first
    assert "abc" not in first
    assert (second, third) == ("", "schön")


def test_deliveries_of_a_job_are_listed(
    app: Flask, client: FlaskClient, receiver: Receiver
) -> None:
    domain = new_domain()
    hooks = [
        create_webhook(client, url=f"{receiver.url}/{number}", domains=[domain], statuses=statuses)
        for number, statuses in enumerate((None, ["completed"]))
    ]
    job, other = (make_job(client, "completed", domain=domain) for _ in range(2))
    path = f"/api/scrape-jobs/{job['id']}/deliveries"
    with dispatching(app, KEY):
        wait_until(lambda: [one["status"] for one in data(client.get(path))] == ["delivered"] * 3)
    found = data(client.get(path))
    assert list(found[0]) == DELIVERY_FIELDS
    assert {one["job_id"] for one in found} == {job["id"]}
    assert [one["body"]["new_status"] for one in found] == ["completed", "completed", "running"]
    assert {one["webhook_id"] for one in found[:2]} == {hook["id"] for hook in hooks}
    missing = refusal(client.get(path.replace(job["id"], hooks[0]["id"])), 404)
    assert missing == {"success": False, "error": "Job not found"}
    assert len(data(client.get(path.replace(job["id"], other["id"])))) == 3


def test_an_attempt_without_a_response_shows_its_error(app: Flask, client: FlaskClient) -> None:
    made = create_webhook(client, url="http://127.0.0.1:9/")
    data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    with dispatching(app, KEY):
        wait_until(lambda: bool(list_deliveries(client, made)[0]["tries"]))
    (delivery,) = list_deliveries(client, made)
    (one,) = delivery["tries"]
    assert (one["status_code"], one["answer"], one["error"]) == (
        None,
        "",
        "The connection was refused",
    )
    assert delivery["status"] == "pending"
    assert TIMESTAMP.fullmatch(delivery["next_try_at"])
    assert get_webhook(client, made)["failing_since"] is not None


def test_a_status_change_is_sent_by_the_filters(
    app: Flask, client: FlaskClient, receiver: Receiver
) -> None:
    domain = new_domain()
    filters: dict[str, dict[str, Any]] = {
        "all": {},
        "status": {"statuses": ["running", "failed"]},
        "other-status": {"statuses": ["completed"]},
        "type": {"job_types": ["special"]},
        "other-type": {"job_types": ["domain_scrape"]},
        "domain": {"domains": [domain.upper()]},
        "other-domain": {"domains": ["other.example"]},
        "every": {"statuses": ["running"], "job_types": ["special"], "domains": [domain]},
        "not-every": {
            "statuses": ["running"],
            "job_types": ["special"],
            "domains": ["other.example"],
        },
        "inactive": {"active": False},
    }
    made = {
        name: create_webhook(client, url=f"{receiver.url}/{name}", **fields)
        for name, fields in filters.items()
    }
    job = make_job(client, "running", domain=domain, job_type="special")
    with dispatching(app, KEY):
        for name in ("all", "status", "type", "domain", "every"):
            receiver.wait_for(f"/{name}", 1)
    assert sorted(received.path for received in receiver.received) == [
        "/all",
        "/domain",
        "/every",
        "/status",
        "/type",
    ]
    for received in receiver.received:
        assert json.loads(received.body)["job_id"] == job["id"]
    assert [len(list_deliveries(client, made[name])) for name in filters] == [
        1,
        1,
        0,
        1,
        0,
        1,
        0,
        1,
        0,
        0,
    ]


def test_pages_list_deliveries_newest_first(client: FlaskClient, query: Query) -> None:
    made, other = create_webhook(client), create_webhook(client)
    enqueued = [insert_delivery(query, made) for _ in range(4)]
    query("UPDATE webhook_deliveries SET created_at = now()")  # equal times are ordered by id
    newest = insert_delivery(query, made)
    insert_delivery(query, other)
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": 2}
    while asked.get("cursor", "") is not None:
        body = client.get(f"{WEBHOOKS}/{made['id']}/deliveries", query_string=asked).get_json()
        seen += [delivery["id"] for delivery in body["data"]]
        asked["cursor"] = body["pagination"]["next_cursor"]
    assert seen == [newest, *sorted(enqueued, reverse=True)]


def test_a_cursor_of_another_endpoint_is_rejected(client: FlaskClient, query: Query) -> None:
    made, other = create_webhook(client), create_webhook(client)
    insert_delivery(query, made)
    insert_delivery(query, made)
    body = client.get(f"{WEBHOOKS}/{made['id']}/deliveries", query_string={"limit": 1}).get_json()
    cursor = {"cursor": body["pagination"]["next_cursor"]}
    assert (
        refusal(client.get(f"{WEBHOOKS}/{other['id']}/deliveries", query_string=cursor))["error"]
        == CURSOR
    )
    assert refusal(client.get(WEBHOOKS, query_string=cursor))["error"] == CURSOR


def test_deliveries_are_filtered_by_status(client: FlaskClient, query: Query) -> None:
    made = create_webhook(client)
    ids = {
        status: insert_delivery(query, made, status, "1 hour")
        for status in ("pending", "delivered", "failed")
    }
    for status, delivery_id in ids.items():
        assert [(d["id"], d["status"]) for d in list_deliveries(client, made, status=status)] == [
            (delivery_id, status)
        ]
    assert len(list_deliveries(client, made)) == 3
    answer = client.get(f"{WEBHOOKS}/{made['id']}/deliveries?status=done")
    assert refusal(answer)["error"] == "Invalid status: must be one of pending, delivered, failed"
