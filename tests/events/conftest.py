"""Fixtures of the tests of the event log."""

from collections.abc import Iterator

import pytest

from support.audit import (
    KEY_NAMES,
    AuditedService,
    audited_service,
)
from support.database import migrate, new_database


@pytest.fixture(scope="module")
def module_service(server_url: str) -> Iterator[AuditedService]:
    for url in new_database(server_url):
        migrate(url)
        with audited_service(url) as audited:
            yield audited


@pytest.fixture
def audited(module_service: AuditedService) -> AuditedService:
    """Return the module's service without any jobs, whatever the test before has changed."""
    module_service.sql("TRUNCATE scrape_jobs, job_events, outbox, uncounted_events")
    return module_service


@pytest.fixture(scope="module")
def actor_key(module_service: AuditedService) -> str:
    """Return an API key with the name KEY_NAMES[0]."""
    return module_service.key(KEY_NAMES[0])
