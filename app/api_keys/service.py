"""Operations on API keys: create, list, revoke and rotate them, and authenticate callers."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app import database
from app.api_keys import queries, secrets
from app.api_keys.queries import StoredKey
from app.api_keys.scopes import Scope
from app.api_keys.secrets import Key
from app.errors import DatabaseFailure, InvalidInput, KeyNotFound, NotAuthenticated
from app.events.provenance import ANONYMOUS, Actor
from app.text.sanitising import one_line

CACHE_SECONDS = 3.0
"""Seconds for which a process uses a key that it has read without reading it again."""

MAX_CACHED_KEYS = 10_000
"""Number of keys in the cache at which it is cleared."""

MAX_NAME = 100
"""Maximum length of a key's name, in characters."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller of a request.

    Attributes:
        actor: The caller's identity in the history of jobs.
        scopes: The scopes of its key.
        customer: The customer that its key is bound to; None: all customers.
    """

    actor: Actor
    scopes: frozenset[str]
    customer: UUID | None


INVALID_KEY = "The key is not valid"

ANONYMOUS_CALLER = Caller(ANONYMOUS, frozenset({Scope.ALL}), None)
"""The caller of each request while authentication is off."""


def create(
    name: str, scopes: Sequence[Scope], customer: UUID | None, seconds: float | None
) -> tuple[Key, StoredKey]:
    """Create a key.

    Args:
        name: A name for people, shown in lists and in the history of jobs.
        scopes: One or more scopes.
        customer: The customer to bind the key to; None: all customers.
        seconds: Seconds until the key expires; None: it does not expire.

    Returns:
        The key with its secret, which cannot be read again, and its row.

    Raises:
        InvalidInput: The name or the scopes are not allowed.
        DatabaseFailure: The key was not stored.
    """
    visible_name = one_line(name)
    if not 1 <= len(visible_name) <= MAX_NAME:
        raise InvalidInput(f"Invalid name: must be 1 to {MAX_NAME} visible characters")
    if not scopes:
        raise InvalidInput(f"Invalid scope: must be one or more of {', '.join(Scope)}")
    if customer is not None and not {Scope.METRICS_READ, Scope.ALL}.isdisjoint(scopes):
        raise InvalidInput(
            "Invalid scope: a key bound to a customer must have neither metrics:read nor all"
        )
    key = secrets.generate()
    return key, queries.create(key.id, key.digest, visible_name, scopes, customer, seconds)


def all_keys() -> Sequence[StoredKey]:
    """Return all keys, oldest first. Raises DatabaseFailure."""
    return queries.all_keys()


def revoke(key_id: str) -> StoredKey:
    """Revoke a key at once and return it. Raises KeyNotFound or DatabaseFailure."""
    revoked = queries.revoke(key_id, 0)
    if revoked is None:
        raise KeyNotFound
    return revoked


def rotate(key_id: str, grace_seconds: float) -> tuple[Key, StoredKey]:
    """Replace a key by a new one with the same name, scopes and customer.

    The new key gets the whole lifetime that the old one was created with, counted from now.

    Args:
        key_id: The id of a valid key.
        grace_seconds: Seconds for which the old key stays valid.

    Returns:
        The new key with its secret, which cannot be read again, and its row.

    Raises:
        KeyNotFound: There is no valid key with this id. Nothing was changed.
        DatabaseFailure: The database failed. Nothing was changed.
    """
    key = secrets.generate()
    with database.transaction():
        old = queries.get(key_id)
        if old is None or not old.is_valid:
            raise KeyNotFound
        lifetime = (
            None if old.expires_at is None else (old.expires_at - old.created_at).total_seconds()
        )
        created = queries.create(
            key.id, key.digest, old.name, old.scopes, old.customer_config_id, lifetime
        )
        if queries.revoke(key_id, grace_seconds) is None:  # another process revoked it meanwhile
            raise KeyNotFound
    return key, created


class ApiKeyCache:
    """Authenticates callers, and caches the keys that it reads from the database.

    A key that is revoked or expires is refused by every process within CACHE_SECONDS. Unknown ids
    are cached as well, so repeated requests with one of them do not reach the database.
    """

    def __init__(self) -> None:
        self._cache: dict[str, tuple[float, StoredKey | None]] = {}
        self._used_ids: set[str] = set()
        self._lock = threading.Lock()

    def caller(self, text: str) -> Caller:
        """Return the caller that the key `text` belongs to.

        Raises:
            NotAuthenticated: `text` is not a valid key.
            DatabaseFailure: The key could not be read.
        """
        key = secrets.parse(text)
        stored = None if key is None else self._get(key.id)
        if key is None or stored is None or not key.matches(stored.digest):
            raise NotAuthenticated(INVALID_KEY)
        return self._caller_of(stored)

    def caller_with_id(self, key_id: str) -> Caller:
        """Return the caller of the key with this id, which has proved the key before.

        Raises:
            NotAuthenticated: There is no valid key with this id.
            DatabaseFailure: The key could not be read.
        """
        stored = self._get(key_id)
        if stored is None:
            raise NotAuthenticated(INVALID_KEY)
        return self._caller_of(stored)

    def _caller_of(self, stored: StoredKey) -> Caller:
        if not stored.is_valid:
            raise NotAuthenticated(INVALID_KEY, stored.id)
        self._used_ids.add(stored.id)
        actor = Actor("key", stored.id, stored.name)
        return Caller(actor, frozenset(stored.scopes), stored.customer_config_id)

    def record_use(self) -> None:
        """Store which keys were used since the last call. Raises DatabaseFailure."""
        with self._lock:
            used_ids, self._used_ids = self._used_ids, set()
        try:
            if used_ids:
                queries.record_use(sorted(used_ids))
        except DatabaseFailure:
            self._used_ids |= used_ids  # the next call stores them
            raise

    def _get(self, key_id: str) -> StoredKey | None:
        now = time.monotonic()
        read_at, stored = self._cache.get(key_id, (-CACHE_SECONDS, None))
        if now - read_at < CACHE_SECONDS:
            return stored
        stored = queries.get(key_id)
        with self._lock:
            if len(self._cache) >= MAX_CACHED_KEYS:
                self._cache.clear()
            self._cache[key_id] = (now, stored)
        return stored
