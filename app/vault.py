"""Secrets at rest: encrypted with the operator's keys, or, where there are none, kept as they are
and marked so."""

import re
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

CLEAR, SEALED = "clear:", "fernet:"


class SecretUnreadableError(Exception):
    """A stored secret was encrypted with a key that the settings no longer hold."""


def is_key(text: str) -> bool:
    """Tell whether `text` is a key for the vault: 32 bytes in URL-safe base64, as `new_key` gives
    them."""
    return re.fullmatch(r"[A-Za-z0-9_-]{43}=", text) is not None


def new_key() -> str:
    """Return a new key."""
    return Fernet.generate_key().decode()


class Vault:
    """Seals with the first of its keys and opens with any, so that a key can be replaced step by
    step."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._cipher = MultiFernet([Fernet(key) for key in keys]) if keys else None

    def seal(self, text: str) -> str:
        """Return `text` in the form in which it may be stored."""
        return (
            CLEAR + text
            if self._cipher is None
            else SEALED + self._cipher.encrypt(text.encode()).decode()
        )

    def open(self, stored: str) -> str:
        """Return the text that was sealed; raises SecretUnreadableError where the key for it is
        gone."""
        if stored.startswith(CLEAR):
            return stored.removeprefix(CLEAR)
        try:
            if self._cipher is None:
                raise SecretUnreadableError
            return self._cipher.decrypt(stored.removeprefix(SEALED)).decode()
        except InvalidToken:
            raise SecretUnreadableError from None
