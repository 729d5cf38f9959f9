"""What can be done with webhooks: endpoints, their secrets, and what they are owed."""

import ipaddress
import json
import logging
import socket
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLateError
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import uuid_utils.compat

from app import database, signing
from app.database.page_size import Fitting
from app.database.row_turns import TURNS, one_row
from app.errors import (
    DatabaseFailure,
    DeliveryNotFound,
    InvalidInput,
    WebhookInactive,
    WebhookLimitReached,
    WebhookNotFound,
)
from app.targets import Policy
from app.vault import SecretUnreadableError, Vault
from app.webhooks import bulk, delivery_queries, queries
from app.webhooks.bulk import Position, Progress
from app.webhooks.delivery_queries import ListedDelivery, Owed
from app.webhooks.headers import names_of
from app.webhooks.queries import ListedEndpoint

log = logging.getLogger(__name__)

LOOK_UP_SECONDS = 2.0

_NAMESPACE = uuid.UUID("6f4a5e0c-3a52-4c0f-9d2e-6d1f3f0b7a11")

_look_ups = ThreadPoolExecutor(4, thread_name_prefix="webhook-look-up")


@dataclass(frozen=True, slots=True)
class EndpointOfSettings:
    """An endpoint that the settings name; the same URL is the same endpoint in every process."""

    url: str
    secret: str

    @property
    def id(self) -> UUID:
        """Its id, which follows from its URL."""
        return uuid.uuid5(_NAMESPACE, self.url)


def create(
    endpoint_id: UUID, fields: Mapping[str, Any], policy: Policy, vault: Vault, limit: int
) -> str:
    """Make an endpoint with a new id and return its JSON, with its secret.

    Raises InvalidInput, or WebhookLimitReached where the caller's customer has `limit` endpoints
    already.
    """
    _refuse_forbidden(fields["url"], policy)
    wanted = _sealed({name: value for name, value in fields.items() if name != "secret"}, vault)
    secret = fields.get("secret") or signing.new_secret()
    sealed = vault.seal(secret)
    with database.transaction():
        queries.lock_customer()
        created = queries.create_endpoint(endpoint_id, wanted, secret, sealed, limit)
    if created is None:
        raise WebhookLimitReached(limit)
    return created


def get(endpoint_id: UUID) -> str:
    """Return the endpoint's JSON. Raises WebhookNotFound."""
    return _found(queries.get_endpoint(endpoint_id))


def owed() -> Owed:
    """Return how many webhooks are neither delivered nor given up yet. Raises DatabaseFailure."""
    return delivery_queries.owed()


def page(after: UUID, limit: int) -> Sequence[ListedEndpoint]:
    """Return at most `limit` endpoints that follow `after`, oldest first."""
    return queries.list_endpoints(after, limit)


def update(endpoint_id: UUID, fields: Mapping[str, Any], policy: Policy, vault: Vault) -> str:
    """Change what `fields` names and return the endpoint's JSON. Raises InvalidInput or
    WebhookNotFound."""
    if "url" in fields:
        _refuse_forbidden(fields["url"], policy)
    with TURNS.at(endpoint_id):
        return _found(queries.update_endpoint(endpoint_id, _sealed(fields, vault)))


def _sealed(fields: Mapping[str, Any], vault: Vault) -> Mapping[str, Any]:
    """Return an endpoint's `fields` as they are stored: its headers sealed, with their names beside
    them."""
    if "headers" not in fields:
        return fields
    headers = fields["headers"]
    sealed = None if headers is None else vault.seal(json.dumps(headers))
    return {**fields, "headers": sealed, "header_names": names_of(headers)}


@one_row
def delete(endpoint_id: UUID) -> None:
    """Remove the endpoint, with what it is owed, of which retention removes what takes long. Raises
    WebhookNotFound."""
    if not queries.delete_endpoint(endpoint_id):
        raise WebhookNotFound
    try:
        bulk.drop_deliveries(endpoint_id)
    except DatabaseFailure as failure:
        log.warning("deliveries to a deleted webhook are left to retention: %s", failure.details)


@one_row
def rotate_secret(endpoint_id: UUID, vault: Vault) -> str:
    """Give the endpoint a new secret and return its JSON with it; the old one signs, too, for a
    day.

    Raises WebhookNotFound.
    """
    secret = signing.new_secret()
    return _found(queries.rotate_secret(endpoint_id, secret, vault.seal(secret)))


def deliveries(
    endpoint_id: UUID, status: str | None, before: Sequence[Any] | None, limit: int
) -> Fitting[ListedDelivery]:
    """Return at most `limit` of the endpoint's deliveries from before a position on, newest first.

    There are as many as fit a page. Raises WebhookNotFound.
    """
    get(endpoint_id)
    newest = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
    return delivery_queries.list_deliveries(endpoint_id, status, before or newest, limit)


@one_row
def redeliver(endpoint_id: UUID, delivery_id: UUID) -> str:
    """Make a delivery due now and return its JSON. Raises WebhookNotFound, WebhookInactive or
    DeliveryNotFound."""
    _refuse_inactive(endpoint_id)
    delivery = delivery_queries.redeliver(endpoint_id, delivery_id)
    if delivery is None:
        raise DeliveryNotFound
    return delivery


def redeliver_failed(endpoint_id: UUID, since: datetime) -> Progress:
    """Make due what was given up since then, as far as the time allows. Raises what `redeliver`
    raises."""
    _refuse_inactive(endpoint_id)
    return bulk.redeliver_failed(endpoint_id, since)


def replay(endpoint_id: UUID, after: Position, until: datetime) -> Progress:
    """Send the status changes of a period again, as far as the time allows.

    Raises WebhookNotFound or WebhookInactive.
    """
    _refuse_inactive(endpoint_id)
    return bulk.replay(endpoint_id, after, until)


@one_row
def test(endpoint_id: UUID) -> str:
    """Owe the endpoint a test event and return the delivery's JSON. Raises WebhookNotFound or
    WebhookInactive."""
    _refuse_inactive(endpoint_id)
    job_id = uuid_utils.compat.uuid7()
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {
        "event": "webhook_test",
        "job_id": str(job_id),
        "domain": "example.com",
        "old_status": "running",
        "new_status": "completed",
        "stats": {},
        "timestamp": now,
    }
    return delivery_queries.owe_test(
        endpoint_id, uuid.uuid4(), job_id, json.dumps(body, separators=(",", ":"))
    )


def keep_endpoints_of_settings(wanted: Sequence[EndpointOfSettings], vault: Vault) -> None:
    """Make the endpoints that the settings name exactly these; one whose secret differs takes the
    new one."""
    known = queries.secrets_of_settings()
    if not wanted and not known:
        return
    changed = [
        endpoint.id
        for endpoint in wanted
        if not _holds(vault, known.get(endpoint.id), endpoint.secret)
    ]
    sealed = {endpoint.id: (endpoint.url, vault.seal(endpoint.secret)) for endpoint in wanted}
    queries.keep_endpoints_of_settings(sealed, changed)


def _holds(vault: Vault, sealed: str | None, secret: str) -> bool:
    try:
        return sealed is not None and vault.open(sealed) == secret
    except SecretUnreadableError:
        return False


def _found(endpoint: str | None) -> str:
    if endpoint is None:
        raise WebhookNotFound
    return endpoint


def _refuse_inactive(endpoint_id: UUID) -> None:
    endpoint = json.loads(get(endpoint_id))
    if not endpoint["active"]:
        raise WebhookInactive(endpoint["disabled_reason"])


def _refuse_forbidden(url: str, policy: Policy) -> None:
    """Refuse a URL whose host is known to have no allowed address; the connection is judged again
    each time.

    A name that does not resolve now may do so later, so it is let through. Which address it was
    stays unsaid: the names of this network are not the caller's to look up.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").partition("%")[0]
    try:
        found = _look_ups.submit(
            socket.getaddrinfo, host, parts.port or 443, type=socket.SOCK_STREAM
        )
        addresses = {str(info[4][0]).partition("%")[0] for info in found.result(LOOK_UP_SECONDS)}
    except (OSError, UnicodeError, TooLateError):
        return
    if not any(policy.allows(host, ipaddress.ip_address(address)) for address in addresses):
        raise InvalidInput(
            "Invalid url: must lead to a public address, or to one that SCRAPE_JOBS_WEBHOOK_ALLOW names"
        )
