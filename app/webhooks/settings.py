"""The webhook settings, built from the service's settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.config import Settings
from app.signing import is_secret
from app.targets import Policy, fault_of_exception, fault_of_url
from app.vault import Vault
from app.webhooks.service import EndpointOfSettings


class InvalidWebhookSettings(ValueError):
    """Invalid webhook settings; `faults` has a field of `Settings` and its fault for each."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {fault}" for field, fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Allowed targets, encryption of secrets, limit per customer, and the configured endpoints."""

    policy: Policy
    vault: Vault
    limit: int
    endpoints: Sequence[EndpointOfSettings]
    ca_file: str | None


def build(settings: Settings) -> WebhookSettings:
    """Return the webhook settings. Raises InvalidWebhookSettings."""
    faults = _faults(settings)
    if faults:
        raise InvalidWebhookSettings(faults)
    secret = settings.webhook_secret or ""
    return WebhookSettings(
        Policy.parse(settings.webhook_allow),
        Vault(settings.secrets_keys),
        settings.webhook_limit,
        [EndpointOfSettings(url, secret) for url in settings.webhook_urls],
        settings.webhook_ca,
    )


def _faults(settings: Settings) -> list[tuple[str, str]]:
    found = [
        (field, faults[0])
        for field, faults in (
            ("webhook_urls", [f for f in map(fault_of_url, settings.webhook_urls) if f]),
            ("webhook_allow", [f for f in map(fault_of_exception, settings.webhook_allow) if f]),
        )
        if faults
    ]
    secret = settings.webhook_secret
    if secret is not None and not is_secret(secret):
        found.append(("webhook_secret", "must be whsec_ and 24 to 64 bytes in base64"))
    if not found and settings.webhook_urls and secret is None:
        found.append(("webhook_secret", "must be set where SCRAPE_JOBS_WEBHOOK_URLS is"))
    return found
