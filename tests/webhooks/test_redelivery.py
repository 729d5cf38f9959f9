"""Redeliveries through the API: of one delivery, and of all that have failed."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from support.receiver import Receiver
from support.service import wait_until
from support.webhook_api import (
    DELIVERY_FIELDS,
    KEY,
    MOMENT,
    UNKNOWN_ID,
    WEBHOOKS,
    Query,
    create_webhook,
    data,
    dispatching,
    insert_delivery,
    list_deliveries,
    refusal,
)

pytestmark = pytest.mark.usefixtures("query")


@pytest.mark.parametrize("status", ["pending", "delivered", "failed"])
def test_a_redelivery_keeps_the_recorded_attempts(
    client: FlaskClient, query: Query, status: str
) -> None:
    made = create_webhook(client)
    delivery_id = insert_delivery(query, made, status, "1 hour")
    answer = client.post(f"{WEBHOOKS}/{made['id']}/deliveries/{delivery_id}/redeliver")
    delivery = data(answer, 202)
    assert list(delivery) == DELIVERY_FIELDS
    assert (delivery["id"], delivery["status"], delivery["finished_at"]) == (
        delivery_id,
        "pending",
        None,
    )
    assert query("SELECT failures, next_try_at <= now() FROM webhook_deliveries") == [(0, True)]


def test_a_redelivery_has_the_same_id_and_body(
    app: Flask, client: FlaskClient, receiver: Receiver
) -> None:
    made = create_webhook(client, url=f"{receiver.url}/ok")
    enqueued = data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    with dispatching(app, KEY):
        wait_until(lambda: list_deliveries(client, made)[0]["status"] == "delivered")
        data(client.post(f"{WEBHOOKS}/{made['id']}/deliveries/{enqueued['id']}/redeliver"), 202)
        first, second = receiver.wait_for("/ok", 2)
        wait_until(lambda: list_deliveries(client, made)[0]["status"] == "delivered")
    assert (first.id, first.body) == (second.id, second.body)
    assert len(list_deliveries(client, made)[0]["tries"]) == 2


def test_a_delivery_to_another_endpoint_is_not_found(client: FlaskClient, query: Query) -> None:
    made, other = create_webhook(client), create_webhook(client)
    delivery_id = insert_delivery(query, other, "failed", "1 hour")
    for unknown in (delivery_id, UNKNOWN_ID):
        answer = client.post(f"{WEBHOOKS}/{made['id']}/deliveries/{unknown}/redeliver")
        assert refusal(answer, 404) == {"success": False, "error": "Delivery not found"}
    assert list_deliveries(client, other)[0]["status"] == "failed"


def test_an_invalid_delivery_id_is_rejected(client: FlaskClient) -> None:
    made = create_webhook(client)
    answer = client.post(f"{WEBHOOKS}/{made['id']}/deliveries/x/redeliver")
    assert refusal(answer) == {"success": False, "error": "Invalid delivery_id: must be a UUID"}


def test_failed_deliveries_since_a_time_are_redelivered(client: FlaskClient, query: Query) -> None:
    made, other = create_webhook(client), create_webhook(client)
    late = {insert_delivery(query, made, "failed", age) for age in ("1 minute", "59 minutes")}
    insert_delivery(query, made, "failed", "61 minutes")
    insert_delivery(query, made, "delivered", "1 minute")
    insert_delivery(query, other, "failed", "1 minute")
    ((since,),) = query(
        "SELECT to_char(now() - interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SSTZH:TZM')"
    )
    answer = client.post(f"{WEBHOOKS}/{made['id']}/redeliver", json={"failed_since": since})
    assert data(answer, 202) == {"redelivered": 2, "remaining": False}
    assert {delivery["id"] for delivery in list_deliveries(client, made, status="pending")} == late
    assert [delivery["status"] for delivery in list_deliveries(client, other)] == ["failed"]
    again = client.post(f"{WEBHOOKS}/{made['id']}/redeliver", json={"failed_since": since})
    assert data(again, 202) == {"redelivered": 0, "remaining": False}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, f"Invalid failed_since: {MOMENT}"),
        *(
            ({"failed_since": value}, f"Invalid failed_since: {MOMENT}")
            for value in (None, 1, "", "yesterday", "2024")
        ),
        ({"failed_since": "2024-01-01T00:00:00Z", "until": 1}, "Unknown field: until"),
        ([], "Invalid body: must be a JSON object"),
    ],
)
def test_the_time_of_failure_is_required(client: FlaskClient, body: Any, error: str) -> None:
    made = create_webhook(client)
    assert refusal(client.post(f"{WEBHOOKS}/{made['id']}/redeliver", json=body))["error"] == error


@pytest.mark.parametrize("reason", [None, "The receiver answered 410 Gone"])
@pytest.mark.parametrize("what", ["test", "redeliver one", "redeliver failed", "replay"])
def test_an_inactive_endpoint_gets_no_deliveries(
    client: FlaskClient, query: Query, what: str, reason: str | None
) -> None:
    made = create_webhook(client)
    delivery_id = insert_delivery(query, made, "failed", "1 minute")
    query("UPDATE webhook_endpoints SET active = false, disabled_reason = %s", reason)
    path, body = {
        "test": ("test", None),
        "redeliver one": (f"deliveries/{delivery_id}/redeliver", None),
        "redeliver failed": ("redeliver", {"failed_since": "2024-01-01T00:00:00Z"}),
        "replay": ("replay", {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}),
    }[what]
    assert refusal(client.post(f"{WEBHOOKS}/{made['id']}/{path}", json=body), 409) == {
        "success": False,
        "error": "Webhook is not active",
        "details": reason or "Set active to true first",
    }
    assert [delivery["status"] for delivery in list_deliveries(client, made)] == ["failed"]
