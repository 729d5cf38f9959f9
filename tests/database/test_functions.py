"""Database functions: their files, the functions that the migrations make, and the calls."""

import re
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from app.database.catalogue import statements
from app.database.functions import functions
from support.database import migrate, new_database
from support.migrations import run_migration_command

DEFINITION = """
SELECT pg_get_functiondef(p.oid) FROM pg_proc p
WHERE p.pronamespace = current_schema::regnamespace AND p.proname = %s
"""
WITHOUT_A_FILE = {"running_jobs"}
"""Functions that a migration defines in its own text."""


@pytest.fixture(scope="module")
def migrated(server_url: str) -> Iterator[str]:
    for url in new_database(server_url):
        migrate(url)
        yield url


def names_in_database(url: str) -> set[str]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = current_schema::regnamespace"
        )
        return {name for (name,) in cursor}


def test_database_has_exactly_the_functions(migrated: str) -> None:
    assert len(functions()) > 0
    assert names_in_database(migrated) - WITHOUT_A_FILE == set(functions())


@pytest.mark.parametrize("name", sorted(functions()))
def test_function_equals_its_file(migrated: str, name: str) -> None:
    with closing(psycopg2.connect(migrated)) as connection, connection.cursor() as cursor:
        cursor.execute(DEFINITION, (name,))
        ((made_by_migration,),) = cursor.fetchall()
        cursor.execute(f"DROP FUNCTION {name}")
        cursor.execute(functions()[name].definition)
        cursor.execute(DEFINITION, (name,))
        assert cursor.fetchall() == [(made_by_migration,)]


@pytest.mark.parametrize("name", sorted(functions()))
def test_function_has_version_and_promise(name: str) -> None:
    assert re.fullmatch(r"[a-z_]+_[1-9][0-9]*", name)
    assert functions()[name].promise.endswith(".")
    assert f"CREATE FUNCTION {name}(" in functions()[name].definition


def test_functions_have_the_rights_of_their_caller(migrated: str) -> None:
    with closing(psycopg2.connect(migrated)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE prosecdef AND proname = ANY(%s)",
            (list(functions()),),
        )
        assert cursor.fetchall() == []


def test_called_functions_exist() -> None:
    texts = [each.sql for each in statements().values()]
    texts += [each.definition for each in functions().values()]
    called = {name for text in texts for name in re.findall(r"\b([a-z_]+_[0-9]+)\(", text)}
    assert called <= set(functions())


def test_migration_can_be_reverted_and_repeated(empty_database: str) -> None:
    migrate(empty_database)
    run_migration_command(empty_database, "downgrade", "0010")
    assert names_in_database(empty_database) == WITHOUT_A_FILE
    migrate(empty_database)
    assert names_in_database(empty_database) - WITHOUT_A_FILE == set(functions())
