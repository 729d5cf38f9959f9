"""The secrets of endpoints: shown once, rotated, encrypted at rest, and never logged."""

import logging

import pytest
from flask import Flask
from flask.testing import FlaskClient
from standardwebhooks.webhooks import Webhook

from app.config import Settings
from app.vault import Vault
from app.webhooks.signing import is_secret, new_secret
from support.receiver import Receiver
from support.service import wait_until
from support.webhook_api import (
    ENDPOINT_FIELDS,
    KEY,
    OTHER_KEY,
    PUBLIC_URL,
    TIMESTAMP,
    WEBHOOKS,
    Query,
    create_webhook,
    data,
    dispatching,
    list_deliveries,
    refusal,
    webhook_application,
)

pytestmark = pytest.mark.usefixtures("query")


def test_only_creation_and_rotation_show_the_secret(client: FlaskClient) -> None:
    made = create_webhook(client)
    path = f"{WEBHOOKS}/{made['id']}"
    rotated = data(client.post(f"{path}/rotate-secret"))
    assert list(rotated) == [*ENDPOINT_FIELDS, "secret"]
    assert is_secret(rotated["secret"])
    assert rotated["secret"] != made["secret"]
    data(client.post(f"{path}/test"), 202)
    answers = [
        client.get(WEBHOOKS),
        client.get(path),
        client.put(path, json={"description": "x"}),
        client.post(f"{path}/test"),
        client.get(f"{path}/deliveries"),
        client.post(f"{path}/redeliver", json={"failed_since": "2024-01-01T00:00:00Z"}),
        client.delete(path),
    ]
    for answer in answers:
        assert answer.status_code < 300
        assert "whsec_" not in answer.text
        assert '"secret"' not in answer.text


def test_the_previous_secret_is_valid_for_a_day(client: FlaskClient, query: Query) -> None:
    made = create_webhook(client)
    rotated = data(client.post(f"{WEBHOOKS}/{made['id']}/rotate-secret"))
    assert TIMESTAMP.fullmatch(rotated["previous_secret_until"])
    ((left,),) = query(
        "SELECT extract(epoch FROM previous_secret_until - now())::float FROM webhook_endpoints"
    )
    assert 86_400 - 60 < left <= 86_400


def test_both_secrets_verify_during_a_rotation(
    app: Flask, client: FlaskClient, query: Query, receiver: Receiver
) -> None:
    made = create_webhook(client, url=f"{receiver.url}/ok")
    path = f"{WEBHOOKS}/{made['id']}"
    rotated = data(client.post(f"{path}/rotate-secret"))
    data(client.post(f"{path}/test"), 202)
    with dispatching(app, KEY):
        (first,) = receiver.wait_for("/ok", 1)
        for secret in (made["secret"], rotated["secret"]):
            Webhook(secret).verify(first.body, first.headers)
        query("UPDATE webhook_endpoints SET previous_secret_until = now() - interval '1 second'")
        data(client.post(f"{path}/test"), 202)
        _, second = receiver.wait_for("/ok", 2)
    assert " " not in second.headers["webhook-signature"]
    Webhook(rotated["secret"]).verify(second.body, second.headers)


def test_secrets_are_encrypted_in_the_database(client: FlaskClient, query: Query) -> None:
    made = create_webhook(client)
    rotated = data(client.post(f"{WEBHOOKS}/{made['id']}/rotate-secret"))
    ((secret, previous),) = query("SELECT secret, previous_secret FROM webhook_endpoints")
    for sealed, shown in ((secret, rotated["secret"]), (previous, made["secret"])):
        assert sealed.startswith("fernet:")
        assert Vault([KEY]).open(sealed) == shown
    ((everything,),) = query("SELECT string_agg(w::text, '') FROM webhook_endpoints w")
    assert "whsec_" not in everything


def test_without_a_key_secrets_are_not_encrypted(own_database: str, query: Query) -> None:
    with webhook_application(own_database) as app:
        made = create_webhook(app.test_client())
    assert query("SELECT secret FROM webhook_endpoints") == [(f"clear:{made['secret']}",)]
    assert Settings().warnings({}) == [
        "webhook secrets are stored in the clear: set SCRAPE_JOBS_SECRETS_KEY to encrypt them"
    ]


def test_with_a_key_there_is_no_warning() -> None:
    assert Settings(secrets_keys=(KEY,)).warnings({}) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), (KEY,)),
        ((KEY,), (OTHER_KEY, KEY)),
        ((KEY,), (KEY, OTHER_KEY)),
        ((KEY, OTHER_KEY), (KEY,)),
    ],
    ids=["first key", "new key before old", "new key after old", "old key gone"],
)
def test_an_encryption_key_can_be_replaced(
    own_database: str, receiver: Receiver, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    with webhook_application(own_database, secrets_keys=before) as app:
        made = create_webhook(app.test_client(), url=f"{receiver.url}/ok")
    with webhook_application(own_database, secrets_keys=after) as app:
        data(app.test_client().post(f"{WEBHOOKS}/{made['id']}/test"), 202)
        with dispatching(app, *after):
            (received,) = receiver.wait_for("/ok", 1)
    Webhook(made["secret"]).verify(received.body, received.headers)


def test_an_unreadable_secret_fails_the_attempt(
    app: Flask, client: FlaskClient, receiver: Receiver
) -> None:
    made = create_webhook(client, url=f"{receiver.url}/ok")
    data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    with dispatching(app, OTHER_KEY):
        wait_until(lambda: bool(list_deliveries(client, made)[0]["tries"]))
    (delivery,) = list_deliveries(client, made)
    assert (
        delivery["tries"][0]["error"]
        == "The secret cannot be decrypted with the keys of the settings"
    )
    assert (delivery["status"], receiver.received) == ("pending", [])


def test_secrets_are_never_logged(
    app: Flask, client: FlaskClient, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chosen = new_secret()
    made = create_webhook(client, url=f"{receiver.url}/ok", secret=chosen)
    path = f"{WEBHOOKS}/{made['id']}"
    rotated = data(client.post(f"{path}/rotate-secret", headers={"Idempotency-Key": "rotate"}))
    refusal(client.post(WEBHOOKS, json={"url": PUBLIC_URL, "secret": chosen + "="}))
    data(client.post(f"{path}/test"), 202)
    with dispatching(app, KEY):
        receiver.wait_for("/ok", 1)
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for secret in (chosen, rotated["secret"]):
        assert secret.removeprefix("whsec_") not in logged


def test_an_error_does_not_contain_the_secret(client: FlaskClient) -> None:
    answer = client.post(WEBHOOKS, json={"url": PUBLIC_URL, "secret": "whsec_hunter2"})
    assert "hunter2" not in answer.text
