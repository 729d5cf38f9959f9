"""Fixtures of the tests of API keys."""

from collections.abc import Iterator

import pytest

from support.database import migrate, new_database
from support.keyed_api import KeyedApi


@pytest.fixture(scope="module")
def api(server_url: str) -> Iterator[KeyedApi]:
    for url in new_database(server_url):
        migrate(url)
        api = KeyedApi(url)
        yield api
        with api.app.app_context():
            api.app.extensions["sqlalchemy"].engine.dispose()
