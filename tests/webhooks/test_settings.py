"""The webhook settings are built, or all their faults are reported by the fields' names."""

from pathlib import Path
from typing import Any

import pytest

from app import vault
from app.config import Settings
from app.webhooks.service import ConfiguredEndpoint
from app.webhooks.settings import InvalidWebhookSettings, build
from app.webhooks.signing import new_secret
from app.webhooks.targets import TargetPolicy

URL = "https://example.com/hook"
URL_FAULT = "must be an http or https URL such as https://example.com/hook"
EXCEPTION_FAULT = "must be CIDRs, addresses or host names, with commas between them"


def faults(**settings: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidWebhookSettings) as raised:
        build(Settings(**settings))
    return raised.value.faults


def test_defaults_allow_public_targets_only() -> None:
    built = build(Settings())
    assert (built.policy, built.limit, built.ca_file) == (TargetPolicy(), 100, None)
    assert list(built.endpoints) == []


def test_the_settings_are_built() -> None:
    secret, key = new_secret(), vault.new_key()
    built = build(
        Settings(
            webhook_urls=(URL,),
            webhook_secret=secret,
            webhook_allow=("10.0.0.0/8", "hooks.internal"),
            webhook_limit=7,
            secrets_keys=(key,),
        )
    )
    assert list(built.endpoints) == [ConfiguredEndpoint(URL, secret)]
    assert built.policy == TargetPolicy.parse(["10.0.0.0/8", "hooks.internal"])
    assert built.vault.seal("text").startswith("fernet:")
    options = built.dispatcher_options
    assert (options.vault, options.policy) == (built.vault, built.policy)
    assert (options.configured_endpoints, options.ca_file) == (built.endpoints, None)
    assert built.limit == 7


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("webhook_urls", ("ftp://x/",), URL_FAULT),
        ("webhook_allow", ("10.0.0.0/33",), EXCEPTION_FAULT),
        ("webhook_secret", "whsec_x", "must be whsec_ and 24 to 64 bytes in base64"),
        ("webhook_ca", "/x", "must be a PEM file of certificates (No such file or directory)"),
        ("secrets_keys", ("x",), "must be keys as flask webhooks new-key prints them"),
    ],
)  # fmt: skip
def test_a_fault_names_its_field(field: str, value: Any, fault: str) -> None:
    assert faults(**{field: value}) == [(field, fault)]


def test_all_faults_are_reported() -> None:
    found = faults(webhook_urls=("x",), webhook_allow=(":",), webhook_secret="", secrets_keys=("",))
    assert [field for field, _ in found] == [
        "webhook_urls",
        "webhook_allow",
        "webhook_secret",
        "secrets_keys",
    ]


def test_urls_need_a_secret() -> None:
    expected = [("webhook_secret", "must be set where SCRAPE_JOBS_WEBHOOK_URLS is")]
    assert faults(webhook_urls=(URL,)) == expected


def test_a_file_without_certificates_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    expected = [("webhook_ca", "must be a PEM file of certificates (it holds none)")]
    assert faults(webhook_ca=str(path)) == expected
