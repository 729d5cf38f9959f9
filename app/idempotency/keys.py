"""Storage of idempotency keys and the responses to their requests, for 24 hours."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Index, Integer, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app import database
from app.database import Batches, Model, Statement
from app.errors import IdempotencyKeyInUse, IdempotencyKeyReused, LockTimeout


class IdempotencyKey(Model):
    """A used key and the response to its request."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_created", "created_at"),)

    # The API key's id: equal idempotency keys of two callers are independent.
    caller: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    # The response. Its three columns are null while the request runs.
    status: Mapped[int | None] = mapped_column(Integer)
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    body: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


ABANDONED_SECONDS = 60
"""After this time, a request whose claim was committed without a response counts as lost."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The response to a request, as it is stored."""

    status: int
    headers: dict[str, str]
    body: str


CLAIM = Statement(
    "claim_idempotency_key",
    promise="A row is returned for exactly one of all requests with this key within 24 hours. A"
    " second request waits here until the first one's transaction ends. A claim that was"
    " committed without a response is valid for ABANDONED_SECONDS.",
    sql=f"""
    INSERT INTO idempotency_keys AS k (caller, key, fingerprint, created_at)
    VALUES (%(caller)s::text, %(key)s::text, decode(%(fingerprint)s::text, 'hex'), now())
    ON CONFLICT (caller, key) DO UPDATE
        SET fingerprint = excluded.fingerprint, status = NULL, headers = NULL, body = NULL,
            created_at = now()
        WHERE k.created_at < now() - interval '24 hours'
            OR k.status IS NULL
                AND k.created_at < now() - interval '{ABANDONED_SECONDS} seconds'
    RETURNING true
    """,
)

READ = Statement(
    "read_idempotency_key",
    promise="The fingerprint of the key's request, and the stored response.",
    sql="""
    SELECT encode(fingerprint, 'hex'), status, headers, body FROM idempotency_keys
    WHERE caller = %(caller)s::text AND key = %(key)s::text
    """,
)

REMEMBER = Statement(
    "remember_answer",
    promise="The response is stored with the key that this transaction claimed.",
    sql="""
    UPDATE idempotency_keys
    SET status = %(status)s::int, headers = %(headers)s::jsonb, body = %(body)s::text
    WHERE caller = %(caller)s::text AND key = %(key)s::text RETURNING true
    """,
)

RELEASE = Statement(
    "release_idempotency_key",
    promise="A claim that has no response is deleted: the key is unused again.",
    sql="""
    DELETE FROM idempotency_keys
    WHERE caller = %(caller)s::text AND key = %(key)s::text AND status IS NULL RETURNING true
    """,
)

FORGET = Statement(
    "forget_expired_keys",
    promise="At most 10 expired keys are deleted. Each new key deletes more than one, so that the"
    " table holds the keys of about 24 hours.",
    sql="""
    DELETE FROM idempotency_keys WHERE (caller, key) IN (
        SELECT caller, key FROM idempotency_keys WHERE created_at < now() - interval '24 hours'
        ORDER BY created_at LIMIT 10 FOR UPDATE SKIP LOCKED)
    RETURNING true
    """,
)


def fingerprint(method: str, path: str, body: bytes) -> str:
    """Return a digest that is equal only for requests with equal method, path and body."""
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), body))).hexdigest()


def claim(caller: str, key: str, digest: str) -> StoredResponse | None:
    """Claim `key` for a request, in the open transaction, or at once if there is none.

    Args:
        caller: The id of the caller's API key.
        key: The idempotency key.
        digest: The request's fingerprint.

    Returns:
        None if this request is the first with the key, else the stored response.

    Raises:
        IdempotencyKeyReused: The first request had another fingerprint.
        IdempotencyKeyInUse: The first request is still running.
    """
    key = _digest(key)
    try:
        if database.run(CLAIM, {"caller": caller, "key": key, "fingerprint": digest}):
            return None
    except LockTimeout:
        raise IdempotencyKeyInUse from None
    rows = database.run(READ, {"caller": caller, "key": key})
    if not rows:  # it expired and was deleted between the two statements
        raise IdempotencyKeyInUse
    known_digest, *response = rows[0]
    if known_digest != digest:
        raise IdempotencyKeyReused
    if response[0] is None:  # its claim was committed before its work
        raise IdempotencyKeyInUse
    return StoredResponse(*response)


def remember(caller: str, key: str, response: StoredResponse) -> None:
    """Store the response to the request that claimed `key`.

    Expired keys are deleted after the commit.
    """
    parameters = {
        "caller": caller,
        "key": _digest(key),
        "status": response.status,
        "headers": json.dumps(response.headers),
        "body": response.body,
    }
    database.run(REMEMBER, parameters)
    database.after_commit(_forget_expired)


def release(caller: str, key: str) -> None:
    """Make a claimed key unused again, because the request has failed."""
    database.run(RELEASE, {"caller": caller, "key": _digest(key)})


def _digest(key: str) -> str:
    """Return the stored form of a key: clients may send a credential as the key."""
    return hashlib.sha256(key.encode()).hexdigest()


def _forget_expired() -> None:
    database.run(FORGET, {})


PRUNE = Statement(
    "remove_expired_keys",
    promise="At most `limit` expired keys are deleted. The row has their number.",
    sql="""
    WITH deleted AS (
        DELETE FROM idempotency_keys WHERE (caller, key) IN (
            SELECT caller, key FROM idempotency_keys WHERE created_at < now() - interval '24 hours'
            ORDER BY created_at LIMIT %(limit)s::int)
        RETURNING 1
    )
    SELECT count(*) FROM deleted
    """,
)

PRUNE_BATCH = 2000


def prune_keys() -> int:
    """Delete all expired keys, in batches, and return their number. Raises DatabaseFailure."""
    batches, deleted = Batches(PRUNE, PRUNE_BATCH), 0
    while number := batches.run({})[0][0]:
        deleted += number
    return deleted
