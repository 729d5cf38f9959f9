"""Fixtures of the tests of the documents."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.database import migrate, new_database


@pytest.fixture
def own_database(server_url: str) -> Iterator[str]:
    """A database of the test's own, with the schema."""
    with contextmanager(new_database)(server_url) as url:
        migrate(url)
        yield url
