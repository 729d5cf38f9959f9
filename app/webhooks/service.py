"""The operations of the webhooks' API: endpoints, their secrets, and their deliveries."""

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

from app import database
from app.database.page_size import PageRows
from app.database.row_limiter import ROW_LIMITER, limited_per_row
from app.errors import (
    DatabaseFailure,
    DeliveryNotFound,
    InvalidInput,
    WebhookInactive,
    WebhookLimitReached,
    WebhookNotFound,
)
from app.jobs import service as jobs
from app.vault import SecretUnreadableError, Vault
from app.webhooks import bulk, delivery_queries, queries, signing
from app.webhooks.bulk import BulkProgress, EventPosition
from app.webhooks.delivery_queries import ListedDelivery, PendingDeliveries
from app.webhooks.headers import names_of
from app.webhooks.queries import ListedEndpoint
from app.webhooks.targets import TargetPolicy

log = logging.getLogger(__name__)

LOOK_UP_SECONDS = 2.0
"""Time that the request waits for a host name's addresses."""

_NAMESPACE = uuid.UUID("6f4a5e0c-3a52-4c0f-9d2e-6d1f3f0b7a11")

_look_ups = ThreadPoolExecutor(4, thread_name_prefix="webhook-look-up")


@dataclass(frozen=True, slots=True)
class ConfiguredEndpoint:
    """An endpoint that the settings name. The same URL is the same endpoint in every process."""

    url: str
    secret: str

    @property
    def id(self) -> UUID:
        """The id, which is derived from the URL."""
        return uuid.uuid5(_NAMESPACE, self.url)


def create(
    endpoint_id: UUID, fields: Mapping[str, Any], policy: TargetPolicy, vault: Vault, limit: int
) -> str:
    """Create an endpoint and return its JSON with its secret.

    Args:
        endpoint_id: The id of the new endpoint.
        fields: The validated fields of the request.
        policy: The allowed targets.
        vault: Encrypts the secret and the headers.
        limit: Maximum number of endpoints of the caller's customer.

    Raises:
        InvalidInput: The host of the URL has no allowed address.
        WebhookLimitReached: The customer has `limit` endpoints already.
    """
    _check_target(fields["url"], policy)
    columns = _sealed({name: value for name, value in fields.items() if name != "secret"}, vault)
    secret = fields.get("secret") or signing.new_secret()
    sealed = vault.seal(secret)
    with database.transaction():
        queries.lock_customer()
        created = queries.create_endpoint(endpoint_id, columns, secret, sealed, limit)
    if created is None:
        raise WebhookLimitReached(limit)
    return created


def get(endpoint_id: UUID) -> str:
    """Return the endpoint's JSON. Raises WebhookNotFound."""
    return _existing(queries.get_endpoint(endpoint_id))


def list_endpoints(after: UUID, limit: int) -> Sequence[ListedEndpoint]:
    """Return at most `limit` endpoints with ids above `after`, oldest first."""
    return queries.list_endpoints(after, limit)


def update(endpoint_id: UUID, fields: Mapping[str, Any], policy: TargetPolicy, vault: Vault) -> str:
    """Change the given fields and return the endpoint's JSON.

    Raises:
        InvalidInput: The host of the URL has no allowed address.
        WebhookNotFound: The endpoint does not exist.
    """
    if "url" in fields:
        _check_target(fields["url"], policy)
    with ROW_LIMITER.at(endpoint_id):
        return _existing(queries.update_endpoint(endpoint_id, _sealed(fields, vault)))


def _sealed(fields: Mapping[str, Any], vault: Vault) -> Mapping[str, Any]:
    """Return an endpoint's `fields` as columns: the headers sealed, and their names."""
    if "headers" not in fields:
        return fields
    headers = fields["headers"]
    sealed = None if headers is None else vault.seal(json.dumps(headers))
    return {**fields, "headers": sealed, "header_names": names_of(headers)}


@limited_per_row
def delete(endpoint_id: UUID) -> None:
    """Delete the endpoint with its deliveries. Raises WebhookNotFound.

    Deliveries that cannot be deleted in the time of a request are left to retention.
    """
    if not queries.delete_endpoint(endpoint_id):
        raise WebhookNotFound
    try:
        bulk.delete_deliveries(endpoint_id)
    except DatabaseFailure as failure:
        log.warning("deliveries to a deleted webhook are left to retention: %s", failure.details)


@limited_per_row
def rotate_secret(endpoint_id: UUID, vault: Vault) -> str:
    """Give the endpoint a new secret and return its JSON with it. Raises WebhookNotFound.

    Messages are signed with the previous secret, too, for a day.
    """
    secret = signing.new_secret()
    return _existing(queries.rotate_secret(endpoint_id, secret, vault.seal(secret)))


def count_pending() -> PendingDeliveries:
    """Return the number of pending deliveries, for the metrics. Raises DatabaseFailure."""
    return delivery_queries.count_pending()


def list_deliveries(
    endpoint_id: UUID, status: str | None, before: Sequence[Any] | None, limit: int
) -> PageRows[ListedDelivery]:
    """Return deliveries of an endpoint, newest first, as many as fit a page.

    Args:
        endpoint_id: The endpoint.
        status: Only deliveries with this status, or None for all.
        before: Only deliveries before this position, or None for all.
        limit: Maximum number of deliveries.

    Raises:
        WebhookNotFound: The endpoint does not exist.
    """
    get(endpoint_id)
    newest = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
    return delivery_queries.list_deliveries(endpoint_id, status, before or newest, limit)


def list_job_deliveries(job_id: UUID) -> Sequence[str]:
    """Return the JSON of the newest deliveries of a job. Raises JobNotFound."""
    jobs.get(job_id)
    return delivery_queries.list_job_deliveries(job_id)


@limited_per_row
def redeliver(endpoint_id: UUID, delivery_id: UUID) -> str:
    """Make a delivery due now and return its JSON.

    Raises:
        WebhookNotFound: The endpoint does not exist.
        WebhookInactive: The endpoint is inactive.
        DeliveryNotFound: The endpoint has no such delivery.
    """
    _check_active(endpoint_id)
    delivery = delivery_queries.redeliver(endpoint_id, delivery_id)
    if delivery is None:
        raise DeliveryNotFound
    return delivery


def redeliver_failed(endpoint_id: UUID, since: datetime) -> BulkProgress:
    """Make deliveries that have failed since `since` due, as many as the time allows.

    Raises:
        WebhookNotFound: The endpoint does not exist.
        WebhookInactive: The endpoint is inactive.
    """
    _check_active(endpoint_id)
    return bulk.redeliver_failed(endpoint_id, since)


def replay(endpoint_id: UUID, after: EventPosition, until: datetime) -> BulkProgress:
    """Send the status changes of a period again, as many as the time allows.

    Args:
        endpoint_id: The endpoint.
        after: The position after which the changes begin.
        until: The time before which they end.

    Raises:
        WebhookNotFound: The endpoint does not exist.
        WebhookInactive: The endpoint is inactive.
    """
    _check_active(endpoint_id)
    return bulk.replay(endpoint_id, after, until)


@limited_per_row
def send_test(endpoint_id: UUID) -> str:
    """Add a delivery of a test event and return its JSON.

    Raises:
        WebhookNotFound: The endpoint does not exist.
        WebhookInactive: The endpoint is inactive.
    """
    _check_active(endpoint_id)
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
    return delivery_queries.enqueue_test(
        endpoint_id, uuid.uuid4(), job_id, json.dumps(body, separators=(",", ":"))
    )


def sync_configured_endpoints(wanted: Sequence[ConfiguredEndpoint], vault: Vault) -> None:
    """Create, withdraw and restore endpoints so that they match the settings.

    An endpoint whose secret differs from the settings takes the new one.
    """
    known = queries.configured_secrets()
    if not wanted and not known:
        return
    changed = [
        endpoint.id
        for endpoint in wanted
        if not _is_sealed_secret(vault, known.get(endpoint.id), endpoint.secret)
    ]
    sealed = {endpoint.id: (endpoint.url, vault.seal(endpoint.secret)) for endpoint in wanted}
    queries.sync_configured_endpoints(sealed, changed)


def _is_sealed_secret(vault: Vault, sealed: str | None, secret: str) -> bool:
    try:
        return sealed is not None and vault.open(sealed) == secret
    except SecretUnreadableError:
        return False


def _existing(endpoint: str | None) -> str:
    if endpoint is None:
        raise WebhookNotFound
    return endpoint


def _check_active(endpoint_id: UUID) -> None:
    endpoint = json.loads(get(endpoint_id))
    if not endpoint["active"]:
        raise WebhookInactive(endpoint["disabled_reason"])


def _check_target(url: str, policy: TargetPolicy) -> None:
    """Raise InvalidInput for a URL whose host is known to have no allowed address.

    A host name that does not resolve is accepted, because it may resolve later: the sender checks
    the address of every connection. The error does not contain the addresses, because callers are
    not to look up the names of the private network.
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
            "Invalid url: must lead to a public address, or to one that"
            " SCRAPE_JOBS_WEBHOOK_ALLOW names"
        )
