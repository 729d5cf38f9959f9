"""The SQL of the webhooks' API that is about endpoints."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.database.tenant_scope import customer, visible_rows

WITHDRAWN = "No longer in the settings"

ROTATION_HOURS = 24
"""How long a secret stays valid beside the one that took its place."""


_ENDPOINT_FIELDS = (
    "url",
    "statuses",
    "job_types",
    "domains",
    "description",
    "active",
    "headers",
    "header_names",
)


def _endpoint_json(endpoint: str, shown: str = "") -> str:
    """Return SQL for an endpoint's JSON text; `shown`, a select item, stands in it at creation and
    rotation alone."""
    return f"""(SELECT row_to_json(r)::text FROM (SELECT
        {endpoint}.id, {endpoint}.url, {endpoint}.statuses, {endpoint}.job_types, {endpoint}.domains,
        {endpoint}.description, {endpoint}.header_names, {endpoint}.customer_config_id,
        {endpoint}.active, {endpoint}.disabled_reason,
        {timestamp(f"{endpoint}.failing_since")} AS failing_since, {endpoint}.from_settings,
        {timestamp(f"{endpoint}.previous_secret_until")} AS previous_secret_until,
        {timestamp(f"{endpoint}.created_at")} AS created_at,
        {timestamp(f"{endpoint}.updated_at")} AS updated_at{shown}) AS r)"""


_FIELDS_OF_JSON = """jsonb_to_record(%(fields)s::jsonb) AS f (url text, statuses text[], job_types text[],
        domains text[], description text, active bool, headers text, header_names text[])"""

LOCK_CUSTOMER = Statement(
    "lock_customers_webhooks",
    # Promises: until the end of the transaction, only this one makes endpoints of the customer.
    "SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || %(tenant)s::text, 0)) IS NULL",
)

CREATE_ENDPOINT = Statement(
    "create_webhook_endpoint",
    # Promises: the endpoint, and the only answer but rotation's that shows its secret; or no row
    # where the customer has `limit` endpoints already. Endpoints without a customer, which only
    # operators make, are not limited.
    f"""
    INSERT INTO webhook_endpoints AS w
        (id, url, statuses, job_types, domains, description, active, headers, header_names, secret, customer_config_id,
         created_at, updated_at)
    SELECT %(id)s::uuid, f.url, f.statuses, f.job_types, f.domains, f.description, f.active, f.headers, f.header_names,
        %(sealed)s::text, %(tenant)s::uuid, now(), now()
    FROM {_FIELDS_OF_JSON}
    WHERE (SELECT count(*) FROM webhook_endpoints o WHERE o.customer_config_id = %(tenant)s::uuid) < %(limit)s::int
    RETURNING {_endpoint_json("w", ", %(shown)s::text AS secret")}
    """,
)

GET_ENDPOINT = Statement(
    "get_webhook_endpoint",
    f"SELECT {_endpoint_json('w')} FROM webhook_endpoints w WHERE w.id = %(id)s::uuid AND {visible_rows('w')}",
)

LIST_ENDPOINTS = Statement(
    "list_webhook_endpoints",
    # Promises: at most `limit` endpoints, oldest first, from after the id `after` on (ids are made
    # in time's order).
    f"""
    SELECT w.id, {_endpoint_json("w")} FROM webhook_endpoints w
    WHERE w.id > %(after)s::uuid AND {visible_rows("w")} ORDER BY w.id LIMIT %(limit)s::int
    """,
)

UPDATE_ENDPOINT = Statement(
    "update_webhook_endpoint",
    # Promises: what `fields` names is changed, the rest stays; whoever is active again starts
    # without a past.
    f"""
    UPDATE webhook_endpoints w SET
        {
        ", ".join(
            f"{name} = CASE WHEN %(fields)s::jsonb ? '{name}' THEN f.{name} ELSE w.{name} END"
            for name in _ENDPOINT_FIELDS
        )
    },
        disabled_reason = CASE WHEN f.active THEN NULL ELSE w.disabled_reason END,
        failing_since = CASE WHEN f.active THEN NULL ELSE w.failing_since END,
        updated_at = now()
    FROM {_FIELDS_OF_JSON}
    WHERE w.id = %(id)s::uuid AND {visible_rows("w")}
    RETURNING {_endpoint_json("w")}
    """,
)

ROTATE_SECRET = Statement(
    "rotate_webhook_secret",
    # Promises: the new secret is the one to sign with; the old one signs, too, for as long as
    # `hours` says.
    f"""
    UPDATE webhook_endpoints w SET
        previous_secret = w.secret, previous_secret_until = now() + make_interval(hours => %(hours)s::int),
        secret = %(sealed)s::text, updated_at = now()
    WHERE w.id = %(id)s::uuid AND {visible_rows("w")}
    RETURNING {_endpoint_json("w", ", %(shown)s::text AS secret")}
    """,
)

DELETE_ENDPOINT = Statement(
    "delete_webhook_endpoint",
    # Promises: the endpoint is gone, after every fan-out that still saw it.
    f"DELETE FROM webhook_endpoints w WHERE w.id = %(id)s::uuid AND {visible_rows('w')} RETURNING w.id",
)

KEEP_ENDPOINTS_OF_SETTINGS = Statement(
    "keep_webhook_endpoints_of_settings",
    # Promises: the endpoints made of settings are exactly these, and untouched where nothing
    # differs.
    f"""
    WITH wanted AS (
        SELECT * FROM unnest(%(ids)s::uuid[], %(urls)s::text[], %(secrets)s::text[]) AS u (id, url, secret)
    ), withdrawn AS (
        UPDATE webhook_endpoints w SET active = false, disabled_reason = '{WITHDRAWN}', updated_at = now()
        WHERE w.from_settings AND w.active AND w.id NOT IN (SELECT id FROM wanted) RETURNING w.id
    )
    INSERT INTO webhook_endpoints AS w (id, url, active, secret, from_settings, created_at, updated_at)
    SELECT id, url, true, secret, true, now(), now() FROM wanted
    ON CONFLICT (id) DO UPDATE SET
        active = w.active OR w.disabled_reason IS NOT DISTINCT FROM '{WITHDRAWN}',
        disabled_reason = nullif(w.disabled_reason, '{WITHDRAWN}'),
        secret = CASE WHEN w.id = ANY(%(changed)s::uuid[]) THEN excluded.secret ELSE w.secret END,
        previous_secret = CASE WHEN w.id = ANY(%(changed)s::uuid[]) THEN w.secret ELSE w.previous_secret END,
        previous_secret_until = CASE WHEN w.id = ANY(%(changed)s::uuid[])
            THEN now() + make_interval(hours => %(hours)s::int) ELSE w.previous_secret_until END,
        updated_at = now()
    WHERE w.disabled_reason = '{WITHDRAWN}' OR w.id = ANY(%(changed)s::uuid[])
    RETURNING w.id
    """,
)

SECRETS_OF_SETTINGS = Statement(
    "secrets_of_webhook_endpoints_of_settings",
    "SELECT w.id, w.secret FROM webhook_endpoints w WHERE w.from_settings",
)


def lock_customer() -> None:
    """Keep others from making endpoints of the caller's customer until the open transaction
    ends."""
    if customer() is not None:
        database.run(LOCK_CUSTOMER, {})


def create_endpoint(
    endpoint_id: UUID, fields: Mapping[str, Any], secret: str, sealed: str, limit: int
) -> str | None:
    """Store an endpoint and return its JSON, `secret` in it; None where its customer has `limit`
    already.

    The limit holds only in a transaction that has called `lock_customer`.
    """
    parameters = {
        "id": str(endpoint_id),
        "fields": json.dumps(fields),
        "shown": secret,
        "sealed": sealed,
    }
    return _only(database.run(CREATE_ENDPOINT, {**parameters, "limit": limit}))


def get_endpoint(endpoint_id: UUID) -> str | None:
    """Return the endpoint's JSON, or None where there is none."""
    return _only(database.run(GET_ENDPOINT, {"id": str(endpoint_id)}))


class ListedEndpoint(NamedTuple):
    """An endpoint in a list: its JSON, and its position."""

    json: str
    position: tuple[UUID]


def list_endpoints(after: UUID, limit: int) -> Sequence[ListedEndpoint]:
    """Return at most `limit` endpoints that follow `after`, oldest first."""
    rows = database.run(LIST_ENDPOINTS, {"after": str(after), "limit": limit})
    return [ListedEndpoint(text, (endpoint_id,)) for endpoint_id, text in rows]


def update_endpoint(endpoint_id: UUID, fields: Mapping[str, Any]) -> str | None:
    """Change what `fields` names and return the endpoint's JSON, or None where there is none."""
    return _only(
        database.run(UPDATE_ENDPOINT, {"id": str(endpoint_id), "fields": json.dumps(fields)})
    )


def rotate_secret(endpoint_id: UUID, secret: str, sealed: str) -> str | None:
    """Give the endpoint a new secret and return its JSON with it, or None where there is no
    endpoint."""
    parameters = {
        "id": str(endpoint_id),
        "shown": secret,
        "sealed": sealed,
        "hours": ROTATION_HOURS,
    }
    return _only(database.run(ROTATE_SECRET, parameters))


def delete_endpoint(endpoint_id: UUID) -> bool:
    """Remove the endpoint, after which nothing is sent to it; tell whether there was one."""
    return bool(database.run(DELETE_ENDPOINT, {"id": str(endpoint_id)}))


def secrets_of_settings() -> Mapping[UUID, str]:
    """Return the sealed secrets of the endpoints that were made of settings."""
    return dict(database.run(SECRETS_OF_SETTINGS, {}))


def keep_endpoints_of_settings(
    wanted: Mapping[UUID, tuple[str, str]], changed: Sequence[UUID]
) -> None:
    """Make the endpoints of the settings exactly `wanted`: URL and sealed secret by id; `changed`
    take a new secret."""
    database.run(
        KEEP_ENDPOINTS_OF_SETTINGS,
        {
            "ids": database.array(wanted),
            "urls": [url for url, _ in wanted.values()],
            "secrets": [secret for _, secret in wanted.values()],
            "changed": database.array(changed),
            "hours": ROTATION_HOURS,
        },
    )


def _only(rows: Sequence[database.Row]) -> str | None:
    return rows[0][0] if rows else None
