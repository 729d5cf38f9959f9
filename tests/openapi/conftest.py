"""Applications in the state that the examples show."""

from collections.abc import Iterator

import pytest

from support.application import close
from support.database import migrate, new_database
from support.example_api import ExampleApi


@pytest.fixture(scope="module")
def module_api(server_url: str) -> Iterator[ExampleApi]:
    """An application with keys, on a database of the module's own."""
    for url in new_database(server_url):
        migrate(url)
        api = ExampleApi(url)
        yield api
        close(api.app)


@pytest.fixture
def api(module_api: ExampleApi) -> ExampleApi:
    """The application, with nothing in its database but keys."""
    module_api.clear()
    return module_api
