"""What can be done with keys: making them, taking them back, and telling whose a request is."""

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

REMEMBERED_SECONDS = 3.0
"""How long a process believes what it has read of a key, valid or not: a revoked one is refused
after that."""

MOST_REMEMBERED = 10_000

MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: for the record, what it may do, and the customer that it is bound to (None: it sees
    all)."""

    actor: Actor
    scopes: frozenset[str]
    customer: UUID | None


INVALID = "The key is not valid"

ANYBODY = Caller(ANONYMOUS, frozenset({Scope.ALL}), None)
"""Who asks where keys are off."""


def create(
    name: str, scopes: Sequence[Scope], customer: UUID | None, seconds: float | None
) -> tuple[Key, StoredKey]:
    """Make a key that is valid for `seconds`, or until it is revoked, and return it, for the only
    time.

    Raises InvalidInput or DatabaseFailure.
    """
    visible = one_line(name)
    if not 1 <= len(visible) <= MAX_NAME:
        raise InvalidInput(f"Invalid name: must be 1 to {MAX_NAME} visible characters")
    if not scopes:
        raise InvalidInput(f"Invalid scope: must be one or more of {', '.join(Scope)}")
    if customer is not None and not {Scope.METRICS_READ, Scope.ALL}.isdisjoint(scopes):
        raise InvalidInput(
            "Invalid scope: a key bound to a customer must have neither metrics:read nor all"
        )
    key = secrets.new()
    return key, queries.create(key.id, key.digest, visible, scopes, customer, seconds)


def all_keys() -> Sequence[StoredKey]:
    """Return all keys, oldest first. Raises DatabaseFailure."""
    return queries.all_keys()


def revoke(key_id: str) -> StoredKey:
    """Take a key back. Raises KeyNotFound or DatabaseFailure."""
    found = queries.revoke(key_id, 0)
    if found is None:
        raise KeyNotFound
    return found


def rotate(key_id: str, grace_seconds: float) -> tuple[Key, StoredKey]:
    """Make a key that may do the same, and let the old one end after `grace_seconds`.

    Where the old one was to expire, the new one lives as long from now as that was made for. Raises
    KeyNotFound or DatabaseFailure, and then nothing has changed.
    """
    key = secrets.new()
    with database.transaction():
        old = queries.get(key_id)
        if old is None or not old.is_valid:
            raise KeyNotFound
        lifetime = (
            None if old.expires_at is None else (old.expires_at - old.created_at).total_seconds()
        )
        made = queries.create(
            key.id, key.digest, old.name, old.scopes, old.customer_config_id, lifetime
        )
        if queries.revoke(key_id, grace_seconds) is None:  # taken back meanwhile
            raise KeyNotFound
    return key, made


class ApiKeyCache:
    """Tells whose a key is, asking the database at most every few seconds for each."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, StoredKey | None]] = {}
        self._used: set[str] = set()
        self._lock = threading.Lock()

    def caller(self, text: str) -> Caller:
        """Return who holds the key `text`. Raises NotAuthenticated or DatabaseFailure."""
        key = secrets.parse(text)
        stored = None if key is None else self._stored(key.id)
        if key is None or stored is None or not key.fits(stored.digest):
            raise NotAuthenticated(INVALID)
        if not stored.is_valid:
            raise NotAuthenticated(INVALID, stored.id)
        self._used.add(stored.id)
        actor = Actor("key", stored.id, stored.name)
        return Caller(actor, frozenset(stored.scopes), stored.customer_config_id)

    def note_use(self) -> None:
        """Record which keys were used since the last time. Raises DatabaseFailure."""
        with self._lock:
            used, self._used = self._used, set()
        try:
            if used:
                queries.note_use(sorted(used))
        except DatabaseFailure:
            self._used |= used  # for the next time
            raise

    def _stored(self, key_id: str) -> StoredKey | None:
        now = time.monotonic()
        read_at, stored = self._known.get(key_id, (-REMEMBERED_SECONDS, None))
        if now - read_at < REMEMBERED_SECONDS:
            return stored
        stored = queries.get(key_id)
        with self._lock:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[key_id] = (now, stored)
        return stored
