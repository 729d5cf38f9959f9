"""The OpenAPI document as schemathesis takes it, and a service with rows that it can find."""

import copy
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.database.tenant_scope import tenant_scope
from app.events.provenance import SYSTEM, Provenance
from app.jobs import service as jobs
from app.jobs.schemas import CREATE, JOB_ID
from app.vault import Vault
from app.webhooks import service as webhooks
from app.webhooks.schemas import NEW_ENDPOINT, WEBHOOK_ID
from app.webhooks.targets import TargetPolicy
from support.application import application
from support.database import migrate, new_database
from support.openapi import closed, described
from support.service import Service, own_work

KNOWN_IDS = [
    JOB_ID,
    WEBHOOK_ID,
    *(f"0190f3a0-0000-7000-8000-{number:012x}" for number in range(1, 39)),
]
"""Ids that paths are called with, beside random ones: each names a job and a webhook."""

CUSTOMER = uuid.UUID(int=1)
CUSTOMER_SCOPES = set(Scope) - {Scope.ALL, Scope.METRICS_READ}
FEW = 5
"""Bound of generated lists; longer ones find nothing more, and take time."""

schemathesis.openapi.format("host", st.sampled_from(["example.com", "bücher.example", "[::1]"]))
schemathesis.openapi.format("time-zone", st.sampled_from(["UTC", "Asia/Kathmandu"]))
schemathesis.openapi.format(
    "uri",
    st.sampled_from(
        ["http://93.184.216.34/hook", "https://[2606:2800:21f:cb07::1]/", "http://[::1]/"]
    ),
)


def fuzzed_document() -> dict[str, Any]:
    """Return the document, with ids that exist, short lists, and answers without other fields.

    It has no security scheme, for which keys would be generated, too: each caller has a key.
    """
    document: dict[str, Any] = closed(described().document)
    del document["components"]["securitySchemes"]
    _remove_streams(document)
    for item in document["paths"].values():
        for operation in item.values():
            del operation["security"]
            parameters = filter(_has_effect, operation["parameters"])
            operation["parameters"] = list(map(_fuzzed, parameters))
    _shorten(document)
    return document


def _remove_streams(document: dict[str, Any]) -> None:
    """Remove the operations whose answers have no end, and the links to them."""
    endless = {name: one for name, one in described().operations.items() if one.is_endless}
    for one in endless.values():
        del document["paths"][one.path][one.method.lower()]
    for item in document["paths"].values():
        for operation in item.values():
            for response in operation["responses"].values():
                for name in endless:
                    response.get("links", {}).pop(name, None)


def _has_effect(parameter: Mapping[str, Any]) -> bool:
    """Return whether generated values of the parameter do more than be refused."""
    return parameter.get("name") != "cursor"


def _fuzzed(parameter: Mapping[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(dict(parameter))
    if changed.get("in") == "path":
        changed["schema"] = {"anyOf": [{"enum": KNOWN_IDS}, changed["schema"]]}
    return changed


def _shorten(node: Any) -> None:
    if isinstance(node, dict):
        if node.get("maxItems", 0) > FEW:
            node["maxItems"] = FEW
        for value in node.values():
            _shorten(value)
    elif isinstance(node, list):
        for value in node:
            _shorten(value)


@dataclass
class FuzzedService:
    """A service that requires API keys, and the headers of each caller."""

    service: Service
    session: requests.Session
    callers: Mapping[str, Mapping[str, str]]


@contextmanager
def fuzzed_service(server_url: str) -> Iterator[FuzzedService]:
    """Run a service on a database of its own, with the jobs and webhooks of KNOWN_IDS."""
    for url in new_database(server_url):
        migrate(url)
        with application(Settings(database_url=url)) as app, own_work(app):
            _fill()
            callers = {
                "anonymous": {},
                "customer": _authorization("customer", CUSTOMER_SCOPES, CUSTOMER),
                "administrator": _authorization("administrator", {Scope.ALL}, None),
            }
        # With a single thread no request waits for work.
        service = Service(
            url, SCRAPE_JOBS_AUTH="keys", SCRAPE_JOBS_WEBHOOK_DISPATCH="off", THREADS="1"
        )
        with service, requests.Session() as session:
            yield FuzzedService(service, session, callers)


def _authorization(
    name: str, scopes: Collection[Scope], customer: uuid.UUID | None
) -> Mapping[str, str]:
    """Make an API key and return the header for it."""
    return {"Authorization": f"Bearer {keys.create(name, sorted(scopes), customer, None)[0]}"}


def _fill() -> None:
    """Make the jobs and webhooks with known ids; every other one belongs to the customer."""
    for number, known in enumerate(KNOWN_IDS):
        with tenant_scope(CUSTOMER if number % 2 else None):
            hook = NEW_ENDPOINT.parse({"url": "http://93.184.216.34/hook"})
            webhooks.create(uuid.UUID(known), hook, TargetPolicy.parse(()), Vault(()), 100)
            jobs.create(
                [{**CREATE.parse({"domain": "example.com"}), "id": known}],
                Provenance(SYSTEM, None, None),
            )
