"""The webhook settings, built from the service's settings, or the list of their faults."""

import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from app.config import Settings
from app.vault import Vault, is_key
from app.webhooks.dispatcher import DispatcherOptions
from app.webhooks.service import ConfiguredEndpoint
from app.webhooks.signing import is_secret
from app.webhooks.targets import TargetPolicy, fault_of_exception, fault_of_url


class InvalidWebhookSettings(ValueError):
    """Invalid webhook settings.

    Attributes:
        faults: For each fault the name of the field of `Settings`, and the text.
    """

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {fault}" for field, fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The objects that the webhook settings describe.

    Attributes:
        policy: The allowed targets.
        vault: Encrypts stored secrets.
        limit: Maximum number of endpoints of one customer.
        endpoints: The endpoints that the settings name.
        ca_file: A PEM file of certificate authorities to trust in addition to the public ones.
    """

    policy: TargetPolicy
    vault: Vault
    limit: int
    endpoints: Sequence[ConfiguredEndpoint] = ()
    ca_file: str | None = None

    @property
    def dispatcher_options(self) -> DispatcherOptions:
        """The options of a dispatcher with these settings."""
        return DispatcherOptions(self.vault, self.policy, self.endpoints, ca_file=self.ca_file)


def build(settings: Settings) -> WebhookSettings:
    """Return the objects that the webhook settings describe.

    Raises:
        InvalidWebhookSettings: Some settings are invalid; it has all faults.
    """
    faults = find_faults(settings)
    if faults:
        raise InvalidWebhookSettings(faults)
    secret = settings.webhook_secret or ""
    return WebhookSettings(
        TargetPolicy.parse(settings.webhook_allow),
        Vault(settings.secrets_keys),
        settings.webhook_limit,
        [ConfiguredEndpoint(url, secret) for url in settings.webhook_urls],
        settings.webhook_ca,
    )


def find_faults(settings: Settings) -> list[tuple[str, str]]:
    """Return the faults of the webhook settings: the fields of `Settings`, and the texts."""
    checks = [
        ("webhook_urls", _first_fault(fault_of_url, settings.webhook_urls)),
        ("webhook_allow", _first_fault(fault_of_exception, settings.webhook_allow)),
        ("webhook_secret", _first_fault(_fault_of_secret, _present(settings.webhook_secret))),
        ("webhook_ca", _first_fault(fault_of_ca_file, _present(settings.webhook_ca))),
        ("secrets_keys", _first_fault(_fault_of_key, settings.secrets_keys)),
    ]
    faults = [(field, fault) for field, fault in checks if fault is not None]
    if not faults and settings.webhook_urls and settings.webhook_secret is None:
        faults.append(("webhook_secret", "must be set where SCRAPE_JOBS_WEBHOOK_URLS is"))
    return faults


def fault_of_ca_file(path: str) -> str | None:
    """Return the fault of a file of certificates, or None."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "must be a PEM file of certificates (it holds none)"
    except OSError as error:
        return f"must be a PEM file of certificates ({error.strerror})"
    return None


def _fault_of_secret(secret: str) -> str | None:
    return None if is_secret(secret) else "must be whsec_ and 24 to 64 bytes in base64"


def _fault_of_key(key: str) -> str | None:
    return None if is_key(key) else "must be keys as flask webhooks new-key prints them"


def _first_fault(fault_of: Callable[[str], str | None], values: Iterable[str]) -> str | None:
    return next((fault for fault in map(fault_of, values) if fault is not None), None)


def _present(value: str | None) -> Sequence[str]:
    return () if value is None else (value,)
