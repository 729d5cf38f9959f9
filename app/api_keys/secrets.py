"""The form of an API key: ``sjk_<id>_<secret>``, of which only the id and the secret's SHA-256 are
kept.

The secret is 256 random bits, so that a digest without salt and without stretching says nothing
about it.
"""

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

PREFIX = "sjk"

_ID = "[0-9a-z]{12}"
_FORM = re.compile(rf"{PREFIX}_({_ID})_([A-Za-z0-9_-]{{43}})")
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Key(NamedTuple):
    """A key's two parts."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"{PREFIX}_{self.id}_{self.secret}"

    @property
    def digest(self) -> bytes:
        """What is stored of the secret."""
        return hashlib.sha256(self.secret.encode()).digest()

    def fits(self, digest: bytes) -> bool:
        """Tell, in a time that says nothing, whether `digest` is of this key's secret."""
        return hmac.compare_digest(self.digest, digest)


def new() -> Key:
    """Return a key that nobody else has."""
    return Key("".join(secrets.choice(_LETTERS) for _ in range(12)), secrets.token_urlsafe(32))


def parse(text: str) -> Key | None:
    """Return the key that `text` is, or None where it can be none."""
    match = _FORM.fullmatch(text)
    return Key(*match.groups()) if match else None


def id_in(text: str) -> str | None:
    """Return the id that `text` is, or that the key has that it is; None where it can be
    neither."""
    key = parse(text)
    return key.id if key else text if re.fullmatch(_ID, text) else None
