"""Idempotency keys: what a request answered is kept for a day, so that a repetition is answered and
not done again."""

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
    """A key that came, and what its request was answered."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_created", "created_at"),)

    # Whose key it is: two callers' equal keys have nothing to do with each other.
    caller: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    # The three parts of the answer; null while the transaction that makes it is open, so never seen
    # null.
    status: Mapped[int | None] = mapped_column(Integer)
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    body: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What a request was answered."""

    status: int
    headers: dict[str, str]
    body: str


CLAIM = Statement(
    "claim_idempotency_key",
    # Promises: a row exactly for the first of all requests with this key in its lifetime; a rival
    # waits here until the first one's transaction ends.
    """
    INSERT INTO idempotency_keys AS k (caller, key, fingerprint, created_at)
    VALUES (%(caller)s::text, %(key)s::text, decode(%(fingerprint)s::text, 'hex'), now())
    ON CONFLICT (caller, key) DO UPDATE
        SET fingerprint = excluded.fingerprint, status = NULL, headers = NULL, body = NULL, created_at = now()
        WHERE k.created_at < now() - interval '24 hours'
    RETURNING true
    """,
)

READ = Statement(
    "read_idempotency_key",
    # Promises: what the first request was, and what it was answered.
    """
    SELECT encode(fingerprint, 'hex'), status, headers, body FROM idempotency_keys
    WHERE caller = %(caller)s::text AND key = %(key)s::text
    """,
)

REMEMBER = Statement(
    "remember_answer",
    # Promises: the answer is kept beside the key that this transaction claimed.
    """
    UPDATE idempotency_keys SET status = %(status)s::int, headers = %(headers)s::jsonb, body = %(body)s::text
    WHERE caller = %(caller)s::text AND key = %(key)s::text RETURNING true
    """,
)

FORGET = Statement(
    "forget_expired_keys",
    # Promises: a few expired keys are gone. Each new key removes more than one, so that the table
    # stays a day's size.
    """
    DELETE FROM idempotency_keys WHERE (caller, key) IN (
        SELECT caller, key FROM idempotency_keys WHERE created_at < now() - interval '24 hours'
        ORDER BY created_at LIMIT 10 FOR UPDATE SKIP LOCKED)
    RETURNING true
    """,
)


def fingerprint(method: str, path: str, body: bytes) -> str:
    """Return a digest that two requests share only if they ask for the same."""
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), body))).hexdigest()


def claim(caller: str, key: str, digest: str) -> StoredAnswer | None:
    """Claim `key` for the request with the fingerprint `digest`, in the open transaction.

    Returns None where the request is the first and has to be done, else what the first one was
    answered. Raises IdempotencyKeyReused where the first was another request, IdempotencyKeyInUse
    where it is still running.
    """
    key = _digest(key)
    try:
        if database.run(CLAIM, {"caller": caller, "key": key, "fingerprint": digest}):
            return None
    except LockTimeout:
        raise IdempotencyKeyInUse from None
    rows = database.run(READ, {"caller": caller, "key": key})
    if not rows:  # it expired and was removed between the two statements
        raise IdempotencyKeyInUse
    known_digest, *answer = rows[0]
    if known_digest != digest:
        raise IdempotencyKeyReused
    return StoredAnswer(*answer)


def remember(caller: str, key: str, answer: StoredAnswer) -> None:
    """Keep the answer of the request that claimed `key`, in the same transaction; expired keys go
    after its commit."""
    parameters = {
        "caller": caller,
        "key": _digest(key),
        "status": answer.status,
        "headers": json.dumps(answer.headers),
        "body": answer.body,
    }
    database.run(REMEMBER, parameters)
    database.after_commit(_forget_expired)


def _digest(key: str) -> str:
    """Return what is stored of a key, which is whatever the caller took for one."""
    return hashlib.sha256(key.encode()).hexdigest()


def _forget_expired() -> None:
    database.run(FORGET, {})


PRUNE = Statement(
    "remove_expired_keys",
    # Promises: at most `limit` expired keys are deleted. The row has their number.
    """
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
