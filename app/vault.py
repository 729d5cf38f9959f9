"""Encryption of stored secrets with the operator's keys (Fernet).

Without a key, secrets are stored in clear text. A prefix marks each stored secret as one or the
other.
"""

import re
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

CLEAR, SEALED = "clear:", "fernet:"


class SecretUnreadableError(Exception):
    """The stored secret was encrypted with a key that is no longer in the settings."""


def is_key(text: str) -> bool:
    """Return whether `text` is a key of the vault: 32 bytes in URL-safe Base64, 44 characters."""
    return re.fullmatch(r"[A-Za-z0-9_-]{43}=", text) is not None


def new_key() -> str:
    """Generate a key."""
    return Fernet.generate_key().decode()


class Vault:
    """Encrypts with the first of its keys and decrypts with any of them.

    An operator replaces a key by putting the new one in front of the old one, and removes the old
    one once no stored secret needs it.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._cipher = MultiFernet([Fernet(key) for key in keys]) if keys else None

    def seal(self, text: str) -> str:
        """Return `text` in the form to store."""
        if self._cipher is None:
            return CLEAR + text
        return SEALED + self._cipher.encrypt(text.encode()).decode()

    def open(self, stored: str) -> str:
        """Return the text of a stored secret.

        Raises:
            SecretUnreadableError: The settings no longer hold the key that encrypted it.
        """
        if stored.startswith(CLEAR):
            return stored.removeprefix(CLEAR)
        try:
            if self._cipher is None:
                raise SecretUnreadableError
            return self._cipher.decrypt(stored.removeprefix(SEALED)).decode()
        except InvalidToken:
            raise SecretUnreadableError from None
