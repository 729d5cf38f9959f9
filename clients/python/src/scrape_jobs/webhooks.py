"""Verification of received webhooks.

Source: Standard Webhooks, https://www.standardwebhooks.com
"""

import json
from collections.abc import Mapping
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from scrape_jobs.errors import ScrapeJobsError


class InvalidWebhook(ScrapeJobsError):
    """The request is not a webhook of the service, or it is too old."""


def verify(headers: Mapping[str, str], body: bytes | str, secret: str) -> dict[str, Any]:
    """Return the event of a received webhook, after checking its signature and its age.

    Args:
        headers: The headers of the request, in any case.
        body: The body exactly as it was received.
        secret: The secret of the endpoint, `whsec_…`.

    Raises:
        InvalidWebhook: The signature is missing or wrong, or the request is older than 5 minutes.
    """
    webhook = Webhook(secret)
    received = {name.lower(): value for name, value in headers.items()}
    try:
        text = body.decode() if isinstance(body, bytes) else body
        webhook.verify(text, received, json_parse=False)
        event = json.loads(text)
    except (WebhookVerificationError, ValueError) as error:  # ValueError: no UTF-8, no signature
        raise InvalidWebhook(str(error)) from error
    if not isinstance(event, dict):
        raise InvalidWebhook("The body is no JSON object")
    return event
