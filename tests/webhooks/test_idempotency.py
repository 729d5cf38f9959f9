"""Idempotency keys of the webhooks' API: each POST is done once, its secrets are encrypted."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from app.webhooks.signing import is_secret
from support.webhook_api import (
    KEY,
    OTHER_KEY,
    PUBLIC_URL,
    WEBHOOKS,
    Query,
    create_webhook,
    data,
    insert_delivery,
    refusal,
    stored_webhooks,
    webhook_application,
)

pytestmark = pytest.mark.usefixtures("query")


def posts(client: FlaskClient, query: Query) -> dict[str, tuple[str, Any, int]]:
    """Return all POST requests by name: the path, the body, and the status of the answer."""
    made = create_webhook(client)
    delivery_id = insert_delivery(query, made, "failed", "1 minute")
    path = f"{WEBHOOKS}/{made['id']}"
    return {
        "create": (WEBHOOKS, {"url": PUBLIC_URL}, 201),
        "rotate": (f"{path}/rotate-secret", None, 200),
        "test": (f"{path}/test", None, 202),
        "redeliver": (f"{path}/deliveries/{delivery_id}/redeliver", None, 202),
        "redeliver failed": (f"{path}/redeliver", {"failed_since": "2024-01-01T00:00:00Z"}, 202),
        "replay": (
            f"{path}/replay",
            {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"},
            202,
        ),
    }


@pytest.mark.parametrize(
    "what", ["create", "rotate", "test", "redeliver", "redeliver failed", "replay"]
)
def test_every_post_is_done_once(client: FlaskClient, query: Query, what: str) -> None:
    path, body, status = posts(client, query)[what]
    headers = {"Idempotency-Key": f"key-{what}".replace(" ", "-")}
    first = client.post(path, json=body, headers=headers)
    assert first.status_code == status, first.text
    assert "Idempotent-Replayed" not in first.headers
    before = stored_webhooks(query)
    for _ in range(2):
        again = client.post(path, json=body, headers=headers)
        assert (again.status_code, again.data) == (status, first.data)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers.get("Location") == first.headers.get("Location")
    assert stored_webhooks(query) == before


@pytest.mark.parametrize("what", ["create", "rotate"])
def test_a_stored_response_is_encrypted(client: FlaskClient, query: Query, what: str) -> None:
    path, body, status = posts(client, query)[what]
    first = data(client.post(path, json=body, headers={"Idempotency-Key": "key"}), status)
    assert is_secret(first["secret"])
    ((kept,),) = query("SELECT body FROM idempotency_keys")
    assert kept.startswith("fernet:")
    ((everything,),) = query("SELECT string_agg(k::text, '') FROM idempotency_keys k")
    assert first["secret"].removeprefix("whsec_") not in everything
    assert data(client.post(path, json=body, headers={"Idempotency-Key": "key"}), status) == first


def test_a_stored_response_survives_a_key_replacement(own_database: str) -> None:
    headers = {"Idempotency-Key": "key"}
    with webhook_application(own_database, secrets_keys=(KEY,)) as app:
        first = app.test_client().post(WEBHOOKS, json={"url": PUBLIC_URL}, headers=headers)
    with webhook_application(own_database, secrets_keys=(OTHER_KEY, KEY)) as app:
        assert (
            app.test_client().post(WEBHOOKS, json={"url": PUBLIC_URL}, headers=headers).data
            == first.data
        )


def test_an_unreadable_stored_response_is_an_error(own_database: str, query: Query) -> None:
    headers = {"Idempotency-Key": "key"}
    with webhook_application(own_database, secrets_keys=(KEY,)) as app:
        app.test_client().post(WEBHOOKS, json={"url": PUBLIC_URL}, headers=headers)
    with webhook_application(own_database, secrets_keys=(OTHER_KEY,)) as app:
        answer = app.test_client().post(WEBHOOKS, json={"url": PUBLIC_URL}, headers=headers)
    assert refusal(answer, 500)["error"] == "Failed to create webhook"
    assert query("SELECT count(*) FROM webhook_endpoints") == [(1,)]


def test_another_request_with_the_key_is_rejected(client: FlaskClient, query: Query) -> None:
    headers = {"Idempotency-Key": "key"}
    data(client.post(WEBHOOKS, json={"url": PUBLIC_URL}, headers=headers), 201)
    answer = client.post(WEBHOOKS, json={"url": PUBLIC_URL, "active": False}, headers=headers)
    assert refusal(answer, 422)["error"] == "Idempotency-Key was used with a different request"
    assert query("SELECT count(*) FROM webhook_endpoints") == [(1,)]


def test_a_rejected_post_leaves_its_key_unused(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "key"}
    refusal(client.post(WEBHOOKS, json={"url": "http://10.0.0.1/"}, headers=headers))
    data(client.post(WEBHOOKS, json={"url": PUBLIC_URL}, headers=headers), 201)
