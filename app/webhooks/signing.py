"""Secrets and signatures of webhooks, by the Standard Webhooks specification, version 1.

See https://www.standardwebhooks.com.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

PREFIX = "whsec_"
NEW_SECRET_BYTES = 32
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
"""Bounds of the specification on the length of a secret."""


def new_secret() -> str:
    """Return a new secret in the form ``whsec_<base64>``."""
    return PREFIX + base64.b64encode(secrets.token_bytes(NEW_SECRET_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Return whether `text` is a valid secret: ``whsec_`` and 24 to 64 bytes in base64."""
    if not text.startswith(PREFIX):
        return False
    try:
        decoded = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return MIN_SECRET_BYTES <= len(decoded) <= MAX_SECRET_BYTES


def signature_headers(
    message_id: str, sent_at: datetime, body: str, valid_secrets: Sequence[str]
) -> Mapping[str, str]:
    """Return the headers that identify and sign a message.

    Args:
        message_id: The id of the delivery, which is the same for every attempt.
        sent_at: The time of the attempt, with a time zone.
        body: The exact body of the request.
        valid_secrets: One secret, or two while a secret is rotated; each adds a signature.

    Returns:
        The headers ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``.
    """
    signatures = [
        Webhook(secret).sign(message_id, sent_at.astimezone(UTC), body) for secret in valid_secrets
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
