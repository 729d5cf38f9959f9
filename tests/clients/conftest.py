"""Clients of the service in tests."""

from uuid import uuid4

import pytest
from scrape_jobs import RetryPolicy, ScrapeJobs

from support.command_line import CommandLine
from support.service import Service


@pytest.fixture
def api(service: Service) -> ScrapeJobs:
    """A client of the running service; its pauses are short."""
    return ScrapeJobs(service.url, retry=RetryPolicy(base_seconds=0.01, max_seconds=0.05))


@pytest.fixture
def cli(service: Service) -> CommandLine:
    """The command line of the running service."""
    return CommandLine(service.url)


@pytest.fixture
def kind() -> str:
    """A type of jobs that no other test uses."""
    return f"type-{uuid4().hex[:12]}"
