"""Fixtures of the tests in this folder."""

from collections.abc import Iterator

import pytest

from support.roles import RoleDatabase, new_role_database


@pytest.fixture(scope="module")
def roles(server_url: str) -> Iterator[RoleDatabase]:
    """A migrated database with the roles of deploy/roles.sql."""
    yield from new_role_database(server_url)
