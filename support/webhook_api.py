"""Helpers for tests of the webhooks' API: an application, requests, and a dispatcher beside it."""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import vault
from app.config import Settings
from app.factory import create_app
from app.vault import Vault
from app.webhooks.dispatcher import Dispatcher, DispatcherOptions
from app.webhooks.service import ConfiguredEndpoint
from app.webhooks.targets import TargetPolicy

WEBHOOKS = "/api/webhooks"
PUBLIC_URL = "http://93.184.216.34/hook"
UNKNOWN_ID = "123e4567-e89b-12d3-a456-426614174000"
KEY, OTHER_KEY = vault.new_key(), vault.new_key()
ENDPOINT_FIELDS = [
    "id", "url", "statuses", "job_types", "domains", "description", "header_names",
    "customer_config_id", "active", "disabled_reason", "failing_since", "from_settings",
    "previous_secret_until", "created_at", "updated_at",
]  # fmt: skip
DELIVERY_FIELDS = [
    "id", "webhook_id", "job_id", "event_id", "status", "body", "tries", "next_try_at",
    "created_at", "finished_at",
]  # fmt: skip
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
CURSOR = "Invalid cursor: must be the next_cursor of a page of the same list"
MOMENT = "must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"
PERIOD = {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
LOOPBACK = ("127.0.0.0/8",)

Query = Callable[..., list[tuple[Any, ...]]]
"""Runs a statement with positional parameters and returns its rows."""


@contextmanager
def webhook_application(url: str, **settings: Any) -> Iterator[Flask]:
    """Return an application on the database at `url` whose webhooks may go to loopback."""
    defaults: dict[str, Any] = {
        "auth": "off", "rate_limit": False, "webhook_allow": LOOPBACK, "threads": 8
    }  # fmt: skip
    app = create_app(Settings(database_url=url, **{**defaults, **settings}))
    try:
        yield app
    finally:
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()


@contextmanager
def dispatching(
    app: Flask,
    *keys: str,
    endpoints: tuple[ConfiguredEndpoint, ...] = (),
    allow: tuple[str, ...] = LOOPBACK,
) -> Iterator[None]:
    """Run a dispatcher with the given keys, configured endpoints and allowed targets."""
    options = DispatcherOptions(
        Vault(keys), TargetPolicy.parse(allow), endpoints, poll_seconds=0.02
    )
    dispatcher = Dispatcher(app.app_context, options)
    dispatcher.start()
    try:
        yield
    finally:
        dispatcher.stop()


def data(answer: TestResponse, status: int = 200) -> Any:
    """Return the data of a successful answer."""
    assert answer.status_code == status, answer.text
    body = answer.get_json()
    assert body["success"] is True
    return body["data"]


def refusal(answer: TestResponse, status: int = 400) -> dict[str, Any]:
    """Return the body of an answer that reports an error."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.get_json()
    assert body["success"] is False
    assert {"success", "error"} <= body.keys() <= {"success", "error", "details"}
    return body


def create_webhook(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    """Create an endpoint and return it with its secret."""
    created: dict[str, Any] = data(client.post(WEBHOOKS, json={"url": PUBLIC_URL, **fields}), 201)
    return created


def get_webhook(client: FlaskClient, webhook: dict[str, Any]) -> dict[str, Any]:
    """Return an endpoint as the API shows it now."""
    found: dict[str, Any] = data(client.get(f"{WEBHOOKS}/{webhook['id']}"))
    return found


def list_deliveries(
    client: FlaskClient, webhook: dict[str, Any], **asked: Any
) -> list[dict[str, Any]]:
    """Return the deliveries of an endpoint, newest first."""
    found: list[dict[str, Any]] = data(
        client.get(f"{WEBHOOKS}/{webhook['id']}/deliveries", query_string={"limit": 200, **asked})
    )
    return found


def insert_delivery(
    query: Query, webhook: dict[str, Any], status: str = "pending", finished: str | None = None
) -> str:
    """Insert a delivery that reached `status` an interval `finished` ago; return its id."""
    delivery_id = str(uuid.uuid4())
    query(
        "INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, status, failures,"
        " next_try_at, created_at, finished_at)"
        " VALUES (%s, 1, %s, %s, '{}', %s, 3,"
        " now() + interval '1 hour', now(), now() - %s::interval)",
        *(str(uuid.uuid4()), webhook["id"], delivery_id, status, finished),
    )
    return delivery_id


def disable_webhook(query: Query, webhook: dict[str, Any], reason: str) -> None:
    """Disable an endpoint as the service does after failures."""
    query(
        "UPDATE webhook_endpoints SET active = false, disabled_reason = %s, failing_since = now()"
        " WHERE id = %s",
        *(reason, webhook["id"]),
    )


def stored_webhooks(query: Query) -> list[tuple[Any, ...]]:
    """Return all rows of endpoints and deliveries, as text."""
    return query(
        "SELECT w::text FROM webhook_endpoints w"
        " UNION ALL SELECT d::text FROM webhook_deliveries d ORDER BY 1"
    )
