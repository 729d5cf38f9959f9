"""The format of an API key: ``sjk_<id>_<secret>``.

The database stores the id and the SHA-256 digest of the secret. The secret is 256 random bits, so
the digest needs neither a salt nor a slow hash function to resist guessing.
"""

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

PREFIX = "sjk"

_ID_LENGTH = 12
_ID_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_SECRET_BYTES = 32

# An id: 12 lower-case letters or digits.
_ID = f"[0-9a-z]{{{_ID_LENGTH}}}"
# A whole key: the prefix, the id, and 32 bytes in URL-safe Base64 without padding (43 characters).
_KEY = re.compile(rf"{PREFIX}_({_ID})_([A-Za-z0-9_-]{{43}})")


class Key(NamedTuple):
    """An API key, split into its id and its secret."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"{PREFIX}_{self.id}_{self.secret}"

    @property
    def digest(self) -> bytes:
        """The SHA-256 digest of the secret, which the database stores."""
        return hashlib.sha256(self.secret.encode()).digest()

    def matches(self, digest: bytes) -> bool:
        """Return whether `digest` belongs to this key's secret, compared in constant time."""
        return hmac.compare_digest(self.digest, digest)


def generate() -> Key:
    """Return a new random key."""
    key_id = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
    return Key(key_id, secrets.token_urlsafe(_SECRET_BYTES))


def parse(text: str) -> Key | None:
    """Return the key that `text` represents, or None if it does not have the format of a key."""
    match = _KEY.fullmatch(text)
    return Key(*match.groups()) if match else None


def id_in(text: str) -> str | None:
    """Return the id of the key that `text` names: by its id or as a whole key.

    Returns:
        The id, or None if `text` has neither format.
    """
    key = parse(text)
    if key:
        return key.id
    return text if re.fullmatch(_ID, text) else None
