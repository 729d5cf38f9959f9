"""Fixtures of the webhook tests: a database, an application, a service and a receiver."""

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
import requests
from flask import Flask

from app.config import Settings
from app.webhooks.sender import Sender
from app.webhooks.targets import TargetPolicy
from support.application import application
from support.database import migrate, new_database
from support.factories import new_domain
from support.receiver import Receiver
from support.service import Service
from support.targets import Trap
from support.webhook_api import KEY, Query, webhook_application
from support.webhooks import (
    ALLOW_LOOPBACK,
    WITHOUT_DISPATCHER,
    WebhookDatabase,
    new_webhook_database,
)


@pytest.fixture(scope="module")
def own_database(server_url: str) -> Iterator[str]:
    """The URL of a database whose endpoints belong to one module alone."""
    for url in new_database(server_url):
        migrate(url)
        yield url


@pytest.fixture
def fresh_database(server_url: str) -> Iterator[str]:
    """The URL of a test's own database, with the schema."""
    for url in new_database(server_url):
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def app(own_database: str) -> Iterator[Flask]:
    """An application with an encryption key; its webhooks may go to loopback."""
    with webhook_application(own_database, secrets_keys=(KEY,)) as app:
        yield app


@pytest.fixture
def query(own_database: str) -> Iterator[Query]:
    """Runs SQL in the module's database; afterwards all endpoints and deliveries are deleted."""
    connection = psycopg2.connect(own_database)
    connection.autocommit = True

    def query(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    yield query
    query("TRUNCATE webhook_endpoints, webhook_deliveries, outbox, idempotency_keys")
    connection.close()


@pytest.fixture(scope="module")
def shared_webhook_database(server_url: str) -> Iterator[WebhookDatabase]:
    """A database of one module, to insert endpoints and deliveries directly."""
    yield from new_webhook_database(server_url)


@pytest.fixture
def webhook_database(shared_webhook_database: WebhookDatabase) -> WebhookDatabase:
    """The same database, emptied."""
    shared_webhook_database.rows(
        "TRUNCATE scrape_jobs, job_events, outbox, uncounted_events, webhook_endpoints,"
        " webhook_deliveries, idempotency_keys"
    )
    return shared_webhook_database


@pytest.fixture
def webhook_database_app(webhook_database: WebhookDatabase) -> Iterator[Flask]:
    """An application on that database."""
    settings = Settings(database_url=webhook_database.url, auth="off", rate_limit=False, threads=4)
    with application(settings) as app:
        yield app


@pytest.fixture(scope="module")
def service(own_database: str) -> Iterator[Service]:
    """The service with two processes, whose dispatchers may send to loopback."""
    with Service(own_database, **ALLOW_LOOPBACK) as service:
        yield service


@pytest.fixture
def quiet_service(fresh_database: str) -> Iterator[tuple[str, Service]]:
    """A database and a service on it that runs no dispatcher."""
    with Service(fresh_database, **ALLOW_LOOPBACK, **WITHOUT_DISPATCHER) as service:
        yield fresh_database, service


@pytest.fixture
def domain(service: Service) -> Iterator[str]:
    """A test's own domain; the endpoints with a filter for it are deleted afterwards."""
    domain = new_domain()
    yield domain
    listed = requests.get(f"{service.url}/api/webhooks?limit=200", timeout=30).json()["data"]
    for webhook in listed:
        if webhook["domains"] == [domain]:
            requests.delete(f"{service.url}/api/webhooks/{webhook['id']}", timeout=30)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def trap() -> Iterator[Trap]:
    with Trap() as trap:
        yield trap


@pytest.fixture
def sender() -> Iterator[Sender]:
    """A sender that may connect to public addresses and to 127.0.0.1."""
    sender = Sender(TargetPolicy.parse(["127.0.0.1"]))
    yield sender
    sender.close()


@pytest.fixture
def strict_sender() -> Iterator[Sender]:
    """A sender that may connect to public addresses only."""
    sender = Sender(TargetPolicy())
    yield sender
    sender.close()
