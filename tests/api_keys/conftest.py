"""Fixtures of the tests of API keys. The databases are shared by the tests of a worker."""

from collections.abc import Iterator

import pytest

from support.database import migrate, new_database
from support.keyed_api import KeyedApi
from support.tenants import SharedService, keep_rows_still, shared_service


@pytest.fixture(scope="session")
def api(server_url: str) -> Iterator[KeyedApi]:
    """An application with authentication by keys."""
    for url in new_database(server_url):
        migrate(url)
        api = KeyedApi(url)
        yield api
        with api.app.app_context():
            api.app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture(scope="session")
def shared_database(server_url: str) -> Iterator[str]:
    """The URL of a database that the customers of several tests share."""
    for url in new_database(server_url):
        migrate(url)
        keep_rows_still(url)
        yield url


@pytest.fixture
def tenants(shared_database: str) -> Iterator[SharedService]:
    """A service with two new customers; customers of other tests share its database."""
    with shared_service(shared_database) as tenants:
        yield tenants
