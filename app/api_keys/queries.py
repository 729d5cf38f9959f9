"""SQL statements on the table of API keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app import database
from app.database import Statement

_COLUMNS = (
    "k.id, k.name, k.digest, k.scopes, k.customer_config_id, k.created_at, k.expires_at,"
    " k.revoked_at, k.last_used_at,"
    " coalesce(k.revoked_at > now(), true) AND coalesce(k.expires_at > now(), true)"
)

CREATE = Statement(
    "create_api_key",
    promise="Stores a key that is valid from now on, and returns it.",
    sql=f"""
    INSERT INTO api_keys AS k
        (id, name, digest, scopes, customer_config_id, created_at, expires_at)
    VALUES (%(id)s::text, %(name)s::text, decode(%(digest)s::text, 'hex'), %(scopes)s::text[],
        %(customer)s::uuid, now(), now() + make_interval(secs => %(seconds)s::float8))
    RETURNING {_COLUMNS}
    """,
)

GET = Statement(
    "get_api_key",
    promise="Returns the key and whether it is valid now; no row if it does not exist.",
    sql=f"SELECT {_COLUMNS} FROM api_keys k WHERE k.id = %(id)s::text",
)

LIST = Statement(
    "list_api_keys",
    promise="Returns all keys, oldest first.",
    sql=f"SELECT {_COLUMNS} FROM api_keys k ORDER BY k.created_at, k.id",
)

REVOKE = Statement(
    "revoke_api_key",
    promise="Makes the key invalid after `seconds`, never later than an earlier revocation does."
    " Returns no row if the key does not exist or is revoked already.",
    sql=f"""
    UPDATE api_keys k
    SET revoked_at = least(k.revoked_at, now() + make_interval(secs => %(seconds)s::float8))
    WHERE k.id = %(id)s::text AND coalesce(k.revoked_at > now(), true) RETURNING {_COLUMNS}
    """,
)

RECORD_USE = Statement(
    "record_use_of_api_keys",
    promise="Sets last_used_at of the keys to now, except where it is less than a minute old.",
    sql="""
    UPDATE api_keys k SET last_used_at = now()
    WHERE k.id = ANY(%(ids)s::text[])
        AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute')
    RETURNING k.id
    """,
)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A row of the table; `is_valid` was computed by the database when it read the row."""

    id: str
    name: str
    digest: bytes
    scopes: Sequence[str]
    customer_config_id: UUID | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    is_valid: bool


def _stored_key(row: database.Row) -> StoredKey:
    key_id, name, digest, *rest = row
    return StoredKey(key_id, name, bytes(digest), *rest)


def create(
    key_id: str,
    digest: bytes,
    name: str,
    scopes: Sequence[str],
    customer: UUID | None,
    seconds: float | None,
) -> StoredKey:
    """Store a key that expires after `seconds`, or never if that is None."""
    parameters = {
        "id": key_id,
        "digest": digest.hex(),
        "name": name,
        "scopes": list(scopes),
        "customer": None if customer is None else str(customer),
        "seconds": seconds,
    }
    return _stored_key(database.run(CREATE, parameters)[0])


def get(key_id: str) -> StoredKey | None:
    """Return the key, or None if it does not exist."""
    rows = database.run(GET, {"id": key_id})
    return _stored_key(rows[0]) if rows else None


def all_keys() -> Sequence[StoredKey]:
    """Return all keys, oldest first."""
    return [_stored_key(row) for row in database.run(LIST, {})]


def revoke(key_id: str, seconds: float) -> StoredKey | None:
    """Make the key invalid after `seconds`.

    Returns:
        The key, or None if it does not exist or is revoked already.
    """
    rows = database.run(REVOKE, {"id": key_id, "seconds": seconds})
    return _stored_key(rows[0]) if rows else None


def record_use(key_ids: Sequence[str]) -> None:
    """Set the time of last use of the keys to now."""
    database.run(RECORD_USE, {"ids": list(key_ids)})
