"""The health endpoints: liveness and readiness."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.engine import make_url

from app.config import Settings
from support.application import application
from support.database import migrate, new_database
from support.factories import new_domain
from support.service import Service


def test_healthz_is_200(client: FlaskClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.get_json()) == (
        200,
        {"success": True, "data": {"status": "ok"}},
    )


def test_readyz_is_200_with_a_current_schema(client: FlaskClient, service: Service) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()) == (
        200,
        {"success": True, "data": {"status": "ready"}},
    )


def test_readyz_is_503_without_a_schema(empty_database: str) -> None:
    with service_on(empty_database) as app:
        answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json() == {
        "success": False,
        "error": "Not ready",
        "details": "The database schema is not up to date: run make migrate",
    }


def test_readyz_is_503_without_a_database() -> None:
    with service_on("postgresql://user@127.0.0.1:1/nothing") as app:
        answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json() == {
        "success": False,
        "error": "Not ready",
        "details": "Database unavailable",
    }


NEWER = "The database schema is newer than this release: upgrade the service"
OLDER = "The database schema is not up to date: run make migrate"


def service_on(url: str) -> AbstractContextManager[Flask]:
    """Return an application with the database at `url`."""
    return application(Settings(auth="off", rate_limit=False, database_url=url))


def execute(url: str, *statements: str) -> None:
    """Execute statements outside of a transaction."""
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
    """The URL of a database of this test, with the current schema."""
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
    """Make all new sessions of the database read-only."""
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


def test_readyz_recovers_after_a_read_only_server(own_database: str) -> None:
    with service_on(own_database) as app:
        with read_only(own_database):
            assert reason(app) == "The database is read-only"
        assert app.test_client().get("/readyz").status_code == 200
