"""The health endpoints."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.engine import make_url

from app.config import Settings
from app.factory import create_app
from support.database import migrate, new_database
from support.factories import new_domain
from support.service import Service


def test_healthz_tells_that_the_process_lives(client: FlaskClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.get_json()) == (
        200,
        {"success": True, "data": {"status": "ok"}},
    )


def test_readyz_is_200_on_a_database_whose_schema_is_current(
    client: FlaskClient, service: Service
) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()) == (
        200,
        {"success": True, "data": {"status": "ready"}},
    )


def test_readyz_is_503_on_a_database_that_was_never_migrated(empty_database: str) -> None:
    app = create_app(Settings(auth="off", rate_limit=False, database_url=empty_database))
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json() == {
        "success": False,
        "error": "Not ready",
        "details": "The database schema is not up to date: run make migrate",
    }
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def test_readyz_is_503_without_a_database() -> None:
    app = create_app(
        Settings(
            auth="off", rate_limit=False, database_url="postgresql://nobody@127.0.0.1:1/nothing"
        )
    )
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json() == {
        "success": False,
        "error": "Not ready",
        "details": "Database unavailable",
    }


NEWER = "The database schema is newer than this release: upgrade the service"
OLDER = "The database schema is not up to date: run make migrate"


@contextmanager
def service_on(url: str) -> Iterator[Flask]:
    app = create_app(Settings(auth="off", rate_limit=False, database_url=url))
    try:
        yield app
    finally:
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()


def execute(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def reason(app: Flask) -> str:
    """Return why the service is not ready."""
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()["error"]) == (503, "Not ready")
    return str(answer.get_json()["details"])


@pytest.fixture
def own_database(empty_database: str) -> str:
    migrate(empty_database)
    return empty_database


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", NEWER),
        ("UPDATE alembic_version SET version_num = '0001'", OLDER),
        ("DELETE FROM alembic_version", OLDER),
        ("DROP TABLE alembic_version", OLDER),
    ],
)
def test_readyz_names_the_direction_of_an_upgrade(
    own_database: str, change: str, expected: str
) -> None:
    with service_on(own_database) as app:
        assert app.test_client().get("/readyz").status_code == 200
        execute(own_database, change)
        assert reason(app) == expected


def test_readyz_names_a_database_not_in_utf8(server_url: str) -> None:
    for url in new_database(
        server_url, "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ):
        execute(url, "CREATE TABLE alembic_version (version_num text)")
        with service_on(url) as app:
            assert reason(app) == "The database is not in UTF8: create it anew with ENCODING 'UTF8'"


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """Make all new sessions on the database read-only."""
    name = make_url(url).database
    execute(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    yield
    writing = "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"
    execute(url, writing, f"ALTER DATABASE {name} RESET default_transaction_read_only")


def test_a_read_only_connection_leaves_the_pool(own_database: str) -> None:
    with service_on(own_database) as app:
        client = app.test_client()
        with read_only(own_database):
            refused = client.post("/api/scrape-jobs", json={"domain": new_domain()})
        assert (refused.status_code, refused.get_json()["details"]) == (
            500,
            "Database is read-only",
        )
        assert client.post("/api/scrape-jobs", json={"domain": new_domain()}).status_code == 201


def test_readyz_leaves_a_read_only_server(own_database: str) -> None:
    with service_on(own_database) as app:
        with read_only(own_database):
            assert reason(app) == "The database is read-only"
        assert app.test_client().get("/readyz").status_code == 200
