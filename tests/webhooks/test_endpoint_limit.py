"""The limit on the endpoints of one customer, with concurrent requests over real HTTP."""

import uuid
from collections.abc import Iterator

import pytest
import requests

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from support.service import Service, own_work
from support.webhooks import WebhookDatabase, new_webhook_database

LIMIT = 5


@pytest.fixture(scope="module")
def webhook_database(server_url: str) -> Iterator[WebhookDatabase]:
    yield from new_webhook_database(server_url)


@pytest.fixture(scope="module")
def service(webhook_database: WebhookDatabase) -> Iterator[Service]:
    settings = {"SCRAPE_JOBS_AUTH": "keys", "SCRAPE_JOBS_WEBHOOK_DISPATCH": "off"}
    with Service(webhook_database.url, SCRAPE_JOBS_WEBHOOK_LIMIT=str(LIMIT), **settings) as service:
        yield service


def key(webhook_database: WebhookDatabase, customer: uuid.UUID | None) -> dict[str, str]:
    app = create_app(Settings(database_url=webhook_database.url, rate_limit=False))
    with own_work(app):
        made, _ = keys.create("test", [Scope.WEBHOOKS_MANAGE], customer, None)
        app.extensions["sqlalchemy"].engine.dispose()
    return {"Authorization": f"Bearer {made}"}


def create(
    session: requests.Session, service: Service, headers: dict[str, str]
) -> requests.Response:
    body = {"url": "http://93.184.216.34/hook"}
    return session.post(f"{service.url}/api/webhooks", json=body, headers=headers, timeout=20)


def test_a_customer_has_a_limited_number_of_endpoints(
    webhook_database: WebhookDatabase, service: Service
) -> None:
    with requests.Session() as session:
        mine, others = key(webhook_database, uuid.uuid4()), key(webhook_database, uuid.uuid4())
        made = [create(session, service, mine) for _ in range(LIMIT)]
        assert {answer.status_code for answer in made} == {201}
        refused = create(session, service, mine)
        assert (refused.status_code, refused.json()) == (
            409,
            {
                "success": False,
                "error": "Webhook limit reached",
                "details": f"A customer may have at most {LIMIT} webhooks; delete one first",
            },
        )
        assert create(session, service, others).status_code == 201
        url = f"{service.url}/api/webhooks/{made[0].json()['data']['id']}"
        assert session.delete(url, headers=mine, timeout=30).ok
        assert create(session, service, mine).status_code == 201


def test_concurrent_creations_do_not_exceed_the_limit(
    webhook_database: WebhookDatabase, service: Service
) -> None:
    customer = uuid.uuid4()
    headers = key(webhook_database, customer)
    answers = service.at_once(
        *[lambda session: create(session, service, headers) for _ in range(16)]
    )
    assert sorted(answer.status_code for answer in answers) == [201] * LIMIT + [409] * (16 - LIMIT)
    assert (
        webhook_database.number(
            "webhook_endpoints", "customer_config_id = %(customer)s", customer=customer
        )
        == LIMIT
    )


def test_a_rejected_creation_leaves_its_key_unused(
    webhook_database: WebhookDatabase, service: Service
) -> None:
    headers = {**key(webhook_database, uuid.uuid4()), "Idempotency-Key": "the-last"}
    with requests.Session() as session:
        plain = {"Authorization": headers["Authorization"]}
        made = [create(session, service, plain) for _ in range(LIMIT)]
        assert create(session, service, headers).status_code == 409
        session.delete(
            f"{service.url}/api/webhooks/{made[0].json()['data']['id']}", headers=plain, timeout=10
        )
        assert create(session, service, headers).status_code == 201


def test_a_key_without_a_customer_is_not_limited(
    webhook_database: WebhookDatabase, service: Service
) -> None:
    headers = key(webhook_database, None)
    with requests.Session() as session:
        assert {create(session, service, headers).status_code for _ in range(LIMIT + 2)} == {201}
