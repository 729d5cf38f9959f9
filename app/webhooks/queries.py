"""The SQL of the webhook endpoints: create, read, update, rotate and delete them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.database.tenant_scope import customer, visible_rows

WITHDRAWN_REASON = "No longer in the settings"

ROTATION_HOURS = 24
"""Hours that the previous secret stays valid after a rotation."""

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


def _endpoint_json(endpoint: str, more: str = "") -> str:
    """Return SQL for an endpoint's JSON text.

    Args:
        endpoint: The alias of webhook_endpoints.
        more: A further item of the select list; creation and rotation show the secret with it.
    """
    return f"""(SELECT row_to_json(r)::text FROM (SELECT
        {endpoint}.id, {endpoint}.url, {endpoint}.statuses, {endpoint}.job_types,
        {endpoint}.domains, {endpoint}.description, {endpoint}.header_names,
        {endpoint}.customer_config_id,
        {endpoint}.active, {endpoint}.disabled_reason,
        {timestamp(f"{endpoint}.failing_since")} AS failing_since, {endpoint}.from_settings,
        {timestamp(f"{endpoint}.previous_secret_until")} AS previous_secret_until,
        {timestamp(f"{endpoint}.created_at")} AS created_at,
        {timestamp(f"{endpoint}.updated_at")} AS updated_at{more}) AS r)"""


_FIELDS_OF_JSON = """jsonb_to_record(%(fields)s::jsonb) AS f (
        url text, statuses text[], job_types text[], domains text[], description text, active bool,
        headers text, header_names text[])"""

LOCK_CUSTOMER = Statement(
    "lock_customers_webhooks",
    promise="Until this transaction ends, no other one creates endpoints of the customer.",
    sql="""
    SELECT pg_advisory_xact_lock(
        hashtextextended('webhook_endpoints ' || %(tenant)s::text, 0)) IS NULL
    """,
)

CREATE_ENDPOINT = Statement(
    "create_webhook_endpoint",
    promise="The new endpoint with its secret, which only this answer and that of a rotation show;"
    " or no row if the customer has `limit` endpoints already. Endpoints without a"
    " customer, which only operators create, are not limited.",
    sql=f"""
    INSERT INTO webhook_endpoints AS w
        (id, url, statuses, job_types, domains, description, active, headers, header_names, secret,
         customer_config_id, created_at, updated_at)
    SELECT
        %(id)s::uuid, f.url, f.statuses, f.job_types, f.domains, f.description, f.active, f.headers,
        f.header_names, %(sealed)s::text, %(tenant)s::uuid, now(), now()
    FROM {_FIELDS_OF_JSON}
    WHERE (
        SELECT count(*) FROM webhook_endpoints o WHERE o.customer_config_id = %(tenant)s::uuid
    ) < %(limit)s::int
    RETURNING {_endpoint_json("w", ", %(shown)s::text AS secret")}
    """,
)

GET_ENDPOINT = Statement(
    "get_webhook_endpoint",
    promise="The endpoint, or no row if it does not exist for the caller.",
    sql=f"""
    SELECT {_endpoint_json("w")} FROM webhook_endpoints w
    WHERE w.id = %(id)s::uuid AND {visible_rows("w")}
    """,
)

LIST_ENDPOINTS = Statement(
    "list_webhook_endpoints",
    promise="At most `limit` endpoints with ids above `after`, oldest first (ids are ordered by"
    " their time of creation).",
    sql=f"""
    SELECT w.id, {_endpoint_json("w")} FROM webhook_endpoints w
    WHERE w.id > %(after)s::uuid AND {visible_rows("w")} ORDER BY w.id LIMIT %(limit)s::int
    """,
)

UPDATE_ENDPOINT = Statement(
    "update_webhook_endpoint",
    promise="The columns in `fields` are changed, all others stay. An endpoint that is set active"
    " loses its disabled_reason and failing_since.",
    sql=f"""
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
    promise="The endpoint with its new secret. Messages are signed with it, and for `hours` with"
    " the previous one as well.",
    sql=f"""
    UPDATE webhook_endpoints w SET
        previous_secret = w.secret,
        previous_secret_until = now() + make_interval(hours => %(hours)s::int),
        secret = %(sealed)s::text, updated_at = now()
    WHERE w.id = %(id)s::uuid AND {visible_rows("w")}
    RETURNING {_endpoint_json("w", ", %(shown)s::text AS secret")}
    """,
)

DELETE_ENDPOINT = Statement(
    "delete_webhook_endpoint",
    promise="The endpoint is deleted, after the commit of every fan-out that has read it.",
    sql=f"""
    DELETE FROM webhook_endpoints w WHERE w.id = %(id)s::uuid AND {visible_rows("w")}
    RETURNING w.id
    """,
)

SYNC_CONFIGURED_ENDPOINTS = Statement(
    "keep_webhook_endpoints_of_settings",
    promise="Exactly the endpoints of the settings are active or were disabled for another reason."
    " An endpoint that left the settings is inactive with WITHDRAWN_REASON and becomes"
    " active when it returns. Those in `changed` have a new secret; rows without a"
    " difference are not written.",
    sql=f"""
    WITH wanted AS (
        SELECT * FROM unnest(%(ids)s::uuid[], %(urls)s::text[], %(secrets)s::text[])
            AS u (id, url, secret)
    ), withdrawn AS (
        UPDATE webhook_endpoints w SET
            active = false, disabled_reason = '{WITHDRAWN_REASON}', updated_at = now()
        WHERE w.from_settings AND w.active AND w.id NOT IN (SELECT id FROM wanted)
        RETURNING w.id
    )
    INSERT INTO webhook_endpoints AS w
        (id, url, active, secret, from_settings, created_at, updated_at)
    SELECT id, url, true, secret, true, now(), now() FROM wanted
    ON CONFLICT (id) DO UPDATE SET
        active = w.active OR w.disabled_reason IS NOT DISTINCT FROM '{WITHDRAWN_REASON}',
        disabled_reason = nullif(w.disabled_reason, '{WITHDRAWN_REASON}'),
        secret = CASE WHEN w.id = ANY(%(changed)s::uuid[]) THEN excluded.secret ELSE w.secret END,
        previous_secret = CASE WHEN w.id = ANY(%(changed)s::uuid[])
            THEN w.secret ELSE w.previous_secret END,
        previous_secret_until = CASE WHEN w.id = ANY(%(changed)s::uuid[])
            THEN now() + make_interval(hours => %(hours)s::int) ELSE w.previous_secret_until END,
        updated_at = now()
    WHERE w.disabled_reason = '{WITHDRAWN_REASON}' OR w.id = ANY(%(changed)s::uuid[])
    RETURNING w.id
    """,
)

CONFIGURED_SECRETS = Statement(
    "secrets_of_webhook_endpoints_of_settings",
    promise="The id and the sealed secret of each endpoint that the settings created.",
    sql="SELECT w.id, w.secret FROM webhook_endpoints w WHERE w.from_settings",
)


def lock_customer() -> None:
    """Block other creations of the caller's customer until the open transaction ends."""
    if customer() is not None:
        database.run(LOCK_CUSTOMER, {})


def create_endpoint(
    endpoint_id: UUID, fields: Mapping[str, Any], secret: str, sealed: str, limit: int
) -> str | None:
    """Create an endpoint and return its JSON with the secret.

    The limit is exact only in a transaction that has called `lock_customer`.

    Args:
        endpoint_id: The id of the new endpoint.
        fields: Its columns, with sealed headers.
        secret: The secret as the answer shows it.
        sealed: The secret as it is stored.
        limit: Maximum number of endpoints of the customer.

    Returns:
        The JSON, or None if the customer has `limit` endpoints already.
    """
    parameters = {
        "id": str(endpoint_id),
        "fields": json.dumps(fields),
        "shown": secret,
        "sealed": sealed,
    }
    return _only(database.run(CREATE_ENDPOINT, {**parameters, "limit": limit}))


def get_endpoint(endpoint_id: UUID) -> str | None:
    """Return the endpoint's JSON, or None if it does not exist."""
    return _only(database.run(GET_ENDPOINT, {"id": str(endpoint_id)}))


class ListedEndpoint(NamedTuple):
    """An endpoint in a list: its JSON, and its position."""

    json: str
    position: tuple[UUID]


def list_endpoints(after: UUID, limit: int) -> Sequence[ListedEndpoint]:
    """Return at most `limit` endpoints with ids above `after`, oldest first."""
    rows = database.run(LIST_ENDPOINTS, {"after": str(after), "limit": limit})
    return [ListedEndpoint(text, (endpoint_id,)) for endpoint_id, text in rows]


def update_endpoint(endpoint_id: UUID, fields: Mapping[str, Any]) -> str | None:
    """Change the columns in `fields` and return the JSON, or None if there is no such endpoint."""
    return _only(
        database.run(UPDATE_ENDPOINT, {"id": str(endpoint_id), "fields": json.dumps(fields)})
    )


def rotate_secret(endpoint_id: UUID, secret: str, sealed: str) -> str | None:
    """Replace the secret and return the JSON with it, or None if there is no such endpoint."""
    parameters = {
        "id": str(endpoint_id),
        "shown": secret,
        "sealed": sealed,
        "hours": ROTATION_HOURS,
    }
    return _only(database.run(ROTATE_SECRET, parameters))


def delete_endpoint(endpoint_id: UUID) -> bool:
    """Delete the endpoint and return whether it existed. Later fan-outs do not see it."""
    return bool(database.run(DELETE_ENDPOINT, {"id": str(endpoint_id)}))


def configured_secrets() -> Mapping[UUID, str]:
    """Return the sealed secret of each endpoint that the settings created, by its id."""
    return dict(database.run(CONFIGURED_SECRETS, {}))


def sync_configured_endpoints(
    wanted: Mapping[UUID, tuple[str, str]], changed: Sequence[UUID]
) -> None:
    """Create, withdraw and restore endpoints so that they match the settings.

    Args:
        wanted: The URL and the sealed secret of each endpoint in the settings, by its id.
        changed: The ids of known endpoints whose secret is replaced.
    """
    database.run(
        SYNC_CONFIGURED_ENDPOINTS,
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
