"""Clients of the service in tests."""

import pytest
from scrape_jobs import RetryPolicy, ScrapeJobs

from support.service import Service


@pytest.fixture
def api(service: Service) -> ScrapeJobs:
    """A client of the running service; its pauses are short."""
    return ScrapeJobs(service.url, retry=RetryPolicy(base_seconds=0.01, max_seconds=0.05))
