"""Generated requests: no endpoint fails, and every answer has the common form."""

import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.database import db
from app.database.tenant_scope import tenant_scope
from app.events.provenance import SYSTEM, Provenance
from app.factory import create_app
from app.jobs import service as jobs
from app.jobs.schemas import CREATE
from app.vault import Vault
from app.webhooks import service as webhooks
from app.webhooks.schemas import NEW_ENDPOINT
from app.webhooks.targets import TargetPolicy
from support.database import migrate, new_database
from support.openapi import ENDPOINTS, KNOWN_IDS, document
from support.routes import api_rules
from support.service import Service, own_work

CUSTOMER = uuid.UUID(int=1)
CUSTOMER_SCOPES = set(Scope) - {Scope.ALL, Scope.METRICS_READ}
MAX_EXAMPLES = 15

API = schemathesis.openapi.from_dict(document())


@dataclass
class ServiceWithKeys:
    """A service that requires API keys, and the Authorization header of each caller."""

    service: Service
    session: requests.Session
    callers: Mapping[str, str | None]


@pytest.fixture(scope="module")
def service_with_keys(server_url: str) -> Iterator[ServiceWithKeys]:
    for url in new_database(server_url):
        migrate(url)
        app = create_app(Settings(database_url=url))
        with own_work(app):
            fill()
            callers = {
                "without a key": None,
                "a customer": bearer("customer", CUSTOMER_SCOPES, CUSTOMER),
                "an administrator": bearer("administrator", {Scope.ALL}, None),
            }
            db.engine.dispose()
        # With a single thread no request waits for work.
        service = Service(
            url, SCRAPE_JOBS_AUTH="keys", SCRAPE_JOBS_WEBHOOK_DISPATCH="off", THREADS="1"
        )
        with service, closing(requests.Session()) as session:
            yield ServiceWithKeys(service, session, callers)


def bearer(name: str, scopes: Collection[Scope], customer: uuid.UUID | None) -> str:
    """Make an API key and return the Authorization header for it."""
    return f"Bearer {keys.create(name, sorted(scopes), customer, None)[0]}"


def fill() -> None:
    """Make the jobs and webhooks with known ids; every other one belongs to the customer."""
    for number, known in enumerate(KNOWN_IDS):
        with tenant_scope(CUSTOMER if number % 2 else None):
            hook = NEW_ENDPOINT.parse({"url": "http://93.184.216.34/hook"})
            webhooks.create(uuid.UUID(known), hook, TargetPolicy.parse(()), Vault(()), 100)
            jobs.create(
                [{**CREATE.parse({"domain": "example.com"}), "id": known}],
                Provenance(SYSTEM, None, None),
            )


def test_document_has_every_endpoint(app: Flask) -> None:
    rules = api_rules(app)
    assert set(ENDPOINTS) == {
        (method, rule.rule)
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.mark.parametrize("caller", ["without a key", "a customer", "an administrator"])
@API.parametrize()
@settings(max_examples=MAX_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_generated_request_fails(
    case: Case[Any], service_with_keys: ServiceWithKeys, caller: str
) -> None:
    key = service_with_keys.callers[caller]
    answer = case.call(
        service_with_keys.service.url,
        service_with_keys.session,
        headers=None if key is None else {"Authorization": key},
    )
    case.validate_response(answer, checks=[not_a_server_error])
    assert answer.headers["x-request-id"]
    if answer.status_code >= 400 and case.method != "HEAD":  # that has no body
        failure = answer.json()
        assert failure.pop("success") is False
        assert {"error"} <= set(failure) <= {"error", "details"}
        assert all(isinstance(text, str) for text in failure.values())
