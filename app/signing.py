"""Signatures by the Standard Webhooks specification (https://www.standardwebhooks.com), version
1."""

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

PREFIX = "whsec_"
SECRET_BYTES = 32
SHORTEST, LONGEST = 24, 64
"""Bytes that a secret may have by the specification."""


def new_secret() -> str:
    """Return a new secret in its form ``whsec_<base64>``."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Tell whether `text` is a secret that the specification allows: ``whsec_`` and 24 to 64 bytes
    in base64."""
    if not text.startswith(PREFIX):
        return False
    try:
        return (
            SHORTEST <= len(base64.b64decode(text.removeprefix(PREFIX), validate=True)) <= LONGEST
        )
    except (binascii.Error, ValueError):
        return False


def headers(
    message_id: str, moment: datetime, body: str, valid_secrets: Sequence[str]
) -> Mapping[str, str]:
    """Return the three headers of a message sent at `moment`, signed with each of the secrets that
    are valid now."""
    signatures = [
        Webhook(secret).sign(message_id, moment.astimezone(UTC), body) for secret in valid_secrets
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
