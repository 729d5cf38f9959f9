"""The SQL of the webhooks' API: endpoints, and what is shown of and done with their deliveries."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.visibility import seen

WITHDRAWN = "No longer in the settings"

ROTATION_HOURS = 24
"""How long a secret stays valid beside the one that took its place."""


# -------------------------------------------------------------------------------------------------------- endpoints

_ENDPOINT_FIELDS = ("url", "statuses", "job_types", "domains", "description", "active", "headers", "header_names")


def _endpoint_json(endpoint: str, shown: str = "") -> str:
    """Return SQL for an endpoint's JSON text; `shown`, a select item, stands in it at creation and rotation alone."""
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

CREATE_ENDPOINT = Statement(
    "create_webhook_endpoint",
    # Promises: the endpoint, and the only answer but rotation's that shows its secret.
    f"""
    INSERT INTO webhook_endpoints AS w
        (id, url, statuses, job_types, domains, description, active, headers, header_names, secret, customer_config_id,
         created_at, updated_at)
    SELECT %(id)s::uuid, f.url, f.statuses, f.job_types, f.domains, f.description, f.active, f.headers, f.header_names,
        %(sealed)s::text, %(tenant)s::uuid, now(), now()
    FROM {_FIELDS_OF_JSON}
    RETURNING {_endpoint_json("w", ", %(shown)s::text AS secret")}
    """,
)

GET_ENDPOINT = Statement(
    "get_webhook_endpoint",
    f"SELECT {_endpoint_json('w')} FROM webhook_endpoints w WHERE w.id = %(id)s::uuid AND {seen('w')}",
)

LIST_ENDPOINTS = Statement(
    "list_webhook_endpoints",
    # Promises: at most `limit` endpoints, oldest first, from after the id `after` on (ids are made in time's order).
    f"""
    SELECT w.id, {_endpoint_json("w")} FROM webhook_endpoints w
    WHERE w.id > %(after)s::uuid AND {seen("w")} ORDER BY w.id LIMIT %(limit)s::int
    """,
)

UPDATE_ENDPOINT = Statement(
    "update_webhook_endpoint",
    # Promises: what `fields` names is changed, the rest stays; whoever is active again starts without a past.
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
    WHERE w.id = %(id)s::uuid AND {seen("w")}
    RETURNING {_endpoint_json("w")}
    """,
)

ROTATE_SECRET = Statement(
    "rotate_webhook_secret",
    # Promises: the new secret is the one to sign with; the old one signs, too, for as long as `hours` says.
    f"""
    UPDATE webhook_endpoints w SET
        previous_secret = w.secret, previous_secret_until = now() + make_interval(hours => %(hours)s::int),
        secret = %(sealed)s::text, updated_at = now()
    WHERE w.id = %(id)s::uuid AND {seen("w")}
    RETURNING {_endpoint_json("w", ", %(shown)s::text AS secret")}
    """,
)

DELETE_ENDPOINT = Statement(
    "delete_webhook_endpoint",
    # Promises: the endpoint is gone, after every fan-out that still saw it.
    f"DELETE FROM webhook_endpoints w WHERE w.id = %(id)s::uuid AND {seen('w')} RETURNING w.id",
)

DROP_DELIVERIES = Statement(
    "drop_webhook_deliveries",
    # Promises: nothing is owed to the endpoint that any transaction so far has committed.
    "WITH d AS (DELETE FROM webhook_deliveries WHERE endpoint_id = %(id)s::uuid RETURNING 1) SELECT count(*) FROM d",
    past_row_security=True,  # their endpoint, by which row security knows them, is gone
)

KEEP_ENDPOINTS_OF_SETTINGS = Statement(
    "keep_webhook_endpoints_of_settings",
    # Promises: the endpoints made of settings are exactly these, and untouched where nothing differs.
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


def create_endpoint(endpoint_id: UUID, fields: Mapping[str, Any], secret: str, sealed: str) -> str:
    """Store an endpoint and return its JSON, `secret` in it."""
    parameters = {"id": str(endpoint_id), "fields": json.dumps(fields), "shown": secret, "sealed": sealed}
    return str(database.run(CREATE_ENDPOINT, parameters)[0][0])


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
    return _only(database.run(UPDATE_ENDPOINT, {"id": str(endpoint_id), "fields": json.dumps(fields)}))


def rotate_secret(endpoint_id: UUID, secret: str, sealed: str) -> str | None:
    """Give the endpoint a new secret and return its JSON with it, or None where there is no endpoint."""
    parameters = {"id": str(endpoint_id), "shown": secret, "sealed": sealed, "hours": ROTATION_HOURS}
    return _only(database.run(ROTATE_SECRET, parameters))


def delete_endpoint(endpoint_id: UUID) -> bool:
    """Remove the endpoint with what it is owed, in the open transaction; tell whether there was one."""
    found = bool(database.run(DELETE_ENDPOINT, {"id": str(endpoint_id)}))
    if found:
        database.run(DROP_DELIVERIES, {"id": str(endpoint_id)})
    return found


def secrets_of_settings() -> Mapping[UUID, str]:
    """Return the sealed secrets of the endpoints that were made of settings."""
    return dict(database.run(SECRETS_OF_SETTINGS, {}))


def keep_endpoints_of_settings(wanted: Mapping[UUID, tuple[str, str]], changed: Sequence[UUID]) -> None:
    """Make the endpoints of the settings exactly `wanted`: URL and sealed secret by id; `changed` take a new secret."""
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


# ------------------------------------------------------------------------------------------------------- deliveries


def _delivery_json(delivery: str) -> str:
    """Return SQL for a delivery's JSON text."""
    return f"""(SELECT row_to_json(r)::text FROM (SELECT
        {delivery}.id, {delivery}.endpoint_id AS webhook_id, {delivery}.job_id, {delivery}.seq AS event_id,
        {delivery}.status, {delivery}.body::json AS body, {delivery}.tries,
        CASE WHEN {delivery}.status = 'pending' THEN {timestamp(f"{delivery}.next_try_at")} END AS next_try_at,
        {timestamp(f"{delivery}.created_at")} AS created_at,
        {timestamp(f"{delivery}.finished_at")} AS finished_at) AS r)"""


LIST_DELIVERIES = Statement(
    "list_webhook_deliveries",
    # Promises: at most `limit` deliveries of one endpoint, newest first, from before (`before_at`, `before_id`) on.
    f"""
    SELECT d.created_at, d.id, {_delivery_json("d")} FROM webhook_deliveries d
    WHERE d.endpoint_id = %(endpoint_id)s::uuid
        AND (%(status)s::text IS NULL OR d.status = %(status)s::text)
        AND (d.created_at, d.id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s::int
    """,
)

OWED = Statement(
    "count_owed_webhooks",
    # Promises: deliveries that are due once more, and status changes that are to become some yet.
    """
    SELECT (SELECT count(*) FROM webhook_deliveries WHERE status = 'pending') + (SELECT count(*) FROM outbox)
    """,
)


def owed() -> int:
    """Return how many webhooks are neither delivered nor given up yet."""
    return int(database.run(OWED, {})[0][0])


REDELIVER = Statement(
    "redeliver_webhook",
    # Promises: the delivery is due now, with all its tries before it, unless it is owed already.
    f"""
    UPDATE webhook_deliveries d SET
        status = 'pending', failures = 0, finished_at = NULL,
        next_try_at = CASE WHEN d.claim IS NULL THEN now() ELSE d.next_try_at END
    WHERE d.id = %(id)s::uuid AND d.endpoint_id = %(endpoint_id)s::uuid
    RETURNING {_delivery_json("d")}
    """,
)

REDELIVER_FAILED = Statement(
    "redeliver_failed_webhooks",
    # Promises: every delivery of the endpoint that was given up since then is due now.
    """
    WITH due AS (
        UPDATE webhook_deliveries d SET status = 'pending', failures = 0, finished_at = NULL, next_try_at = now()
        WHERE d.endpoint_id = %(endpoint_id)s::uuid AND d.status = 'failed'
            AND d.finished_at >= %(since)s::timestamptz
        RETURNING 1)
    SELECT count(*) FROM due
    """,
)

OWE_TEST = Statement(
    "owe_test_webhook",
    # Promises: the endpoint is owed a message about no job, as if it were about one.
    f"""
    INSERT INTO webhook_deliveries AS d (job_id, seq, endpoint_id, id, body, next_try_at, created_at)
    VALUES (%(job_id)s::uuid, 1, %(endpoint_id)s::uuid, %(id)s::uuid, %(body)s::text, now(), now())
    RETURNING {_delivery_json("d")}
    """,
)


class ListedDelivery(NamedTuple):
    """A delivery in a list: its JSON, and its position."""

    json: str
    position: tuple[datetime, UUID]


def list_deliveries(
    endpoint_id: UUID, status: str | None, before: Sequence[Any], limit: int
) -> Sequence[ListedDelivery]:
    """Return at most `limit` deliveries of the endpoint from before the position `before` on, newest first."""
    before_at, before_id = before
    parameters = {
        "endpoint_id": str(endpoint_id),
        "status": status,
        "before_at": before_at,
        "before_id": str(before_id),
        "limit": limit,
    }
    return [ListedDelivery(text, (at, id)) for at, id, text in database.run(LIST_DELIVERIES, parameters)]


def redeliver(endpoint_id: UUID, delivery_id: UUID) -> str | None:
    """Make the delivery due now and return its JSON, or None where there is none."""
    return _only(database.run(REDELIVER, {"endpoint_id": str(endpoint_id), "id": str(delivery_id)}))


def redeliver_failed(endpoint_id: UUID, since: datetime) -> int:
    """Make everything due now that was given up since then, and return how much that is."""
    return int(database.run(REDELIVER_FAILED, {"endpoint_id": str(endpoint_id), "since": since})[0][0])


def owe_test(endpoint_id: UUID, delivery_id: UUID, job_id: UUID, body: str) -> str:
    """Owe the endpoint a test message and return the delivery's JSON."""
    parameters = {"endpoint_id": str(endpoint_id), "id": str(delivery_id), "job_id": str(job_id), "body": body}
    return str(database.run(OWE_TEST, parameters)[0][0])
