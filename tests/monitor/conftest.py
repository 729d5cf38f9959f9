"""Fixtures of the monitor's tests: one browser per worker, and one service and database per module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from support.database import migrate, new_database
from support.pages import running_browser, tab
from support.service import Service


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def own_database(server_url: str) -> Iterator[str]:
    """The URL of a database for this module: its lists hold this module's jobs alone."""
    for url in new_database(server_url):
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def site(own_database: str) -> Iterator[Service]:
    """The service without keys, with its pages."""
    settings = {"WEB_CONCURRENCY": "1", "THREADS": "8", "SCRAPE_JOBS_WEBHOOK_ALLOW": "127.0.0.0/8"}
    with Service(own_database, **settings) as service:
        yield service


@pytest.fixture
def page(browser: Browser, site: Service) -> Iterator[Page]:
    """A tab of the browser."""
    with tab(browser, site.url) as page:
        yield page
