"""Endpoints that the settings name: created, withdrawn and restored with the settings."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from standardwebhooks.webhooks import Webhook

from app.vault import Vault
from app.webhooks import service
from app.webhooks.service import ConfiguredEndpoint
from app.webhooks.signing import new_secret
from support.factories import make_job
from support.receiver import Receiver
from support.service import wait_until
from support.webhook_api import (
    KEY,
    OTHER_KEY,
    PUBLIC_URL,
    WEBHOOKS,
    Query,
    create_webhook,
    data,
    disable_webhook,
    dispatching,
    stored_webhooks,
)

pytestmark = pytest.mark.usefixtures("query")


def keep(app: Flask, *wanted: ConfiguredEndpoint, keys: tuple[str, ...] = (KEY,)) -> None:
    with app.app_context():
        service.sync_configured_endpoints(wanted, Vault(keys))


def listed(client: FlaskClient) -> dict[str, dict[str, Any]]:
    return {webhook["url"]: webhook for webhook in data(client.get(WEBHOOKS))}


ONE, TWO = (
    ConfiguredEndpoint("http://127.0.0.1:9/one", new_secret()),
    ConfiguredEndpoint(PUBLIC_URL, new_secret()),
)


def test_the_settings_create_endpoints(app: Flask, client: FlaskClient, query: Query) -> None:
    mine = create_webhook(client, url="http://93.184.216.34/mine")
    keep(app, ONE, TWO)
    found = listed(client)
    assert found.keys() == {mine["url"], ONE.url, TWO.url}
    for endpoint in (ONE, TWO):
        webhook = found[endpoint.url]
        assert (webhook["active"], webhook["from_settings"]) == (True, True)
        assert [
            webhook[name] for name in ("statuses", "job_types", "domains", "disabled_reason")
        ] == [None] * 4
        ((sealed,),) = query("SELECT secret FROM webhook_endpoints WHERE id = %s", webhook["id"])
        assert sealed.startswith("fernet:")
        assert Vault([KEY]).open(sealed) == endpoint.secret


def test_a_dispatcher_creates_and_serves_them(
    app: Flask, client: FlaskClient, receiver: Receiver
) -> None:
    endpoint = ConfiguredEndpoint(f"{receiver.url}/ok", new_secret())
    with dispatching(app, KEY, endpoints=(endpoint,)):
        wait_until(lambda: bool(listed(client)))
        job = make_job(client, "cancelled")
        (received,) = receiver.wait_for("/ok", 1)
    assert Webhook(endpoint.secret).verify(received.body, received.headers)["job_id"] == job["id"]


def test_unchanged_settings_change_nothing(app: Flask, client: FlaskClient, query: Query) -> None:
    keep(app, ONE, TWO)
    before = stored_webhooks(query)
    for _ in range(3):
        keep(app, TWO, ONE)
    assert stored_webhooks(query) == before


def test_a_new_secret_replaces_the_stored_one(
    app: Flask, client: FlaskClient, query: Query
) -> None:
    keep(app, ONE)
    before = listed(client)[ONE.url]
    other = ConfiguredEndpoint(ONE.url, new_secret())
    keep(app, other)
    assert listed(client)[ONE.url]["id"] == before["id"]
    ((sealed,),) = query("SELECT secret FROM webhook_endpoints")
    assert Vault([KEY]).open(sealed) == other.secret


def test_the_replaced_secret_is_valid_for_a_day(
    app: Flask, client: FlaskClient, query: Query
) -> None:
    keep(app, ONE)
    keep(app, ConfiguredEndpoint(ONE.url, new_secret()))
    ((previous, valid),) = query(
        "SELECT previous_secret, previous_secret_until > now() FROM webhook_endpoints"
    )
    assert previous is not None
    assert Vault([KEY]).open(previous) == ONE.secret
    assert valid


def test_an_unreadable_secret_is_stored_again(app: Flask, query: Query) -> None:
    keep(app, ONE)
    keep(app, ONE, keys=(OTHER_KEY,))
    ((sealed,),) = query("SELECT secret FROM webhook_endpoints")
    assert Vault([OTHER_KEY]).open(sealed) == ONE.secret


def test_an_endpoint_is_withdrawn_and_restored(app: Flask, client: FlaskClient) -> None:
    mine = create_webhook(client, url="http://93.184.216.34/mine")
    keep(app, ONE, TWO)
    keep(app, TWO)
    found = listed(client)
    assert (found[ONE.url]["active"], found[ONE.url]["disabled_reason"]) == (
        False,
        "No longer in the settings",
    )
    assert (found[TWO.url]["active"], found[mine["url"]]["active"]) == (True, True)
    keep(app)
    assert [
        webhook["active"] for webhook in listed(client).values() if webhook["from_settings"]
    ] == [False, False]
    keep(app, ONE, TWO)
    again = listed(client)
    assert again[ONE.url]["id"] == found[ONE.url]["id"]
    for endpoint in (ONE, TWO):
        assert (again[endpoint.url]["active"], again[endpoint.url]["disabled_reason"]) == (
            True,
            None,
        )


def test_an_endpoint_that_a_user_disabled_stays_inactive(app: Flask, client: FlaskClient) -> None:
    keep(app, ONE)
    path = f"{WEBHOOKS}/{listed(client)[ONE.url]['id']}"
    data(client.put(path, json={"active": False}))
    for wanted in ((ONE,), (), (ONE,), (ConfiguredEndpoint(ONE.url, new_secret()),)):
        keep(app, *wanted)
        assert data(client.get(path))["active"] is False


def test_an_endpoint_that_the_service_disabled_stays_inactive(
    app: Flask, client: FlaskClient, query: Query
) -> None:
    keep(app, ONE)
    disable_webhook(query, listed(client)[ONE.url], "The receiver answered 410 Gone")
    for wanted in ((ONE,), (), (ONE,)):
        keep(app, *wanted)
        found = listed(client)[ONE.url]
        assert (found["active"], found["disabled_reason"]) == (
            False,
            "The receiver answered 410 Gone",
        )


def test_filters_that_a_user_set_are_kept(app: Flask, client: FlaskClient) -> None:
    keep(app, ONE)
    path = f"{WEBHOOKS}/{listed(client)[ONE.url]['id']}"
    data(client.put(path, json={"statuses": ["failed"], "description": "mine"}))
    for wanted in ((), (ONE,), (ConfiguredEndpoint(ONE.url, new_secret()),)):
        keep(app, *wanted)
        found = data(client.get(path))
        assert (found["statuses"], found["description"]) == (["failed"], "mine")
