"""Prepared statements: they survive changes of columns, and each can also be sent as text."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg2
import pytest
from flask import Flask

from app import database
from app.config import Settings
from app.database import Statement, execution
from app.database.catalogue import statements
from app.database.tenant_scope import all_customers, tenant_scope
from app.factory import create_app
from support.database import migrate, new_database
from support.factories import make_job

FIRST_BIGINT = -(2**63)


@pytest.fixture
def own_app(empty_database: str) -> Iterator[Flask]:
    """The application on a database whose tables the test may change."""
    migrate(empty_database)
    yield from application(empty_database)


def application(url: str) -> Iterator[Flask]:
    app = create_app(Settings(database_url=url, auth="off", rate_limit=False, threads=4))
    yield app
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def alter(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def test_statements_survive_change_of_column_type(own_app: Flask, empty_database: str) -> None:
    urls = [f"/api/scrape-jobs/{make_job(own_app.test_client())['id']}" for _ in range(20)]

    def put(number: int) -> int:
        return (
            own_app.test_client()
            .put(urls[number], json={"stats": {"pagesProcessed": number}})
            .status_code
        )

    with ThreadPoolExecutor(4) as pool:
        for change in (
            "retry_count TYPE bigint",
            "worker_id TYPE varchar(500)",
            "retry_count TYPE integer",
        ):
            assert set(pool.map(put, range(20))) == {200}
            alter(empty_database, f"ALTER TABLE scrape_jobs ALTER COLUMN {change}")
            assert set(pool.map(put, range(20))) == {200}
    assert own_app.test_client().get(urls[0]).status_code == 200


def test_patch_survives_change_of_column_type(own_app: Flask, empty_database: str) -> None:
    client = own_app.test_client()
    url = f"/api/scrape-jobs/{make_job(client)['id']}"
    headers = {"Content-Type": "application/merge-patch+json"}

    def patch() -> int:
        return client.patch(url, data='{"stats": {"a": 1}}', headers=headers).status_code

    assert {patch() for _ in range(3)} == {200}
    alter(empty_database, "ALTER TABLE scrape_jobs ALTER COLUMN retry_count TYPE bigint")
    # A statement cannot be repeated inside of its transaction. The pool replaces the connection.
    first, *later = [patch() for _ in range(3)]
    assert first in (200, 500)
    assert later == [200, 200]


def test_result_of_another_type_is_prepared_again(own_app: Flask, empty_database: str) -> None:
    alter(empty_database, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    statement = Statement(
        "all_of_t", promise="A statement of a test.", sql="SELECT * FROM t WHERE a = %(a)s"
    )
    with own_app.app_context(), all_customers():
        assert database.run(statement, {"a": 1}) == [(1,)]
        alter(empty_database, "ALTER TABLE t ALTER a TYPE text")
        assert database.run(statement, {"a": "1"}) == [("1",)]
        alter(empty_database, "ALTER TABLE t ADD b int")
        assert database.run(statement, {"a": "1"}) == [("1", None)]
        assert execution._prepares
        with database.transaction():
            assert database.run(statement, {"a": "1"}) == [("1", None)]


ID = str(uuid.uuid4())
NOW = "2024-01-01T10:00:00Z"
JOB = {
    "id": ID,
    "domain_id": ID,
    "domain": "example.com",
    "job_type": "x",
    "priority": 5,
    "max_retries": 3,
}
BY_NAME = {
    "digest": "ab" * 32,
    "fields": json.dumps({"url": "https://example.com/", "active": True}),
    "jobs": json.dumps([{**JOB, "config": {}, "metadata": {}}]),
    "fingerprint": "ab" * 32,
    "results": "[]",
    "body": "{}",
    "provenance": json.dumps({"action": "created", "actor_type": "system"}),
    "actor_type": "system",
}
BY_TYPE = {
    "bigint": FIRST_BIGINT,
    "integer": 1,
    "double precision": -1.5,
    "boolean": True,
    "text": "x",
    "uuid": ID,
    "jsonb": "{}",
    "timestamp with time zone": NOW,
}
"""Plausible values, with the smallest bigint; arrays are empty.

A parameter of any other type needs a value here.
"""


class Undone(Exception):
    """Rolls a transaction back."""


@pytest.fixture(scope="module")
def any_app(server_url: str) -> Iterator[Flask]:
    for url in new_database(server_url):
        migrate(url)
        yield from application(url)


def parameters(connection: Any, statement: Statement) -> dict[str, Any]:
    """Return a value for each parameter, of the type that PostgreSQL infers."""
    cursor = connection.cursor()
    cursor.execute(statement.prepare, {})
    cursor.execute(
        "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = %s",
        (statement.prepared_name,),
    )
    types = zip(statement.parameters, cursor.fetchone()[0], strict=True)
    return {
        name: BY_NAME.get(name, "{}" if kind.endswith("[]") else BY_TYPE.get(kind))
        for name, kind in types
    }


@pytest.mark.parametrize("name", sorted(statements()))
def test_every_statement_runs_as_text(any_app: Flask, name: str) -> None:
    statement = statements()[name]
    with any_app.app_context(), tenant_scope(uuid.UUID(ID)):
        connection = database.db.engine.raw_connection()
        values = parameters(connection, statement)
        connection.close()
        assert None not in values.values()
        with suppress(Undone), database.transaction():  # which sends statements as text
            database.run(statement, values)
            raise Undone
