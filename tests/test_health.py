"""The health endpoints."""

from flask.testing import FlaskClient

from app.config import Settings
from app.factory import create_app
from tests.service import Service


def test_healthz_tells_that_the_process_lives(client: FlaskClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.get_json()) == (200, {"success": True, "data": {"status": "ok"}})


def test_readyz_is_200_on_a_database_whose_schema_is_current(client: FlaskClient, service: Service) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()) == (200, {"success": True, "data": {"status": "ready"}})


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
    app = create_app(Settings(auth="off", rate_limit=False, database_url="postgresql://nobody@127.0.0.1:1/nothing"))
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json() == {"success": False, "error": "Not ready", "details": "Database unavailable"}
