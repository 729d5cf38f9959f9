"""The clients have the version of the service."""

import json

import scrape_jobs

from app import __version__
from support.service import ROOT


def test_the_clients_have_the_services_version() -> None:
    package = ROOT / "clients" / "typescript"
    versions = {
        name: json.loads((package / name).read_text())["version"]
        for name in ("package.json", "package-lock.json")
    }
    assert {**versions, "Python": scrape_jobs.__version__} == dict.fromkeys(
        [*versions, "Python"], __version__
    )
