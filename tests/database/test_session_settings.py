"""The service does not depend on the defaults of the database and the role, even with PgBouncer."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg2
import pytest
from flask import Flask
from sqlalchemy.engine import make_url

from app import database
from app.config import Settings
from app.database import Statement, execution
from app.database.session_settings import REQUIRED
from app.database.tenant_scope import SETTING, all_customers
from app.factory import create_app
from support.database import migrate, new_database
from support.factories import make_job
from support.pgbouncer import PgBouncer

UNUSUAL = {
    "default_transaction_isolation": "serializable",
    "row_security": "off",
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "gin_fuzzy_search_limit": "1",
    "client_encoding": "LATIN1",
    "enable_indexscan": "off",
}
POOLERS = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is missing")

SHOWN = Statement(
    "shown",
    promise="A statement of a test.",
    sql="SELECT name, current_setting(name) FROM unnest(%(names)s::text[]) AS name",
)
RUNNING = Statement(
    "running",
    promise="A statement of a test.",
    sql="SELECT current_setting('transaction_isolation')",
)


@pytest.fixture(scope="module")
def unusual(server_url: str) -> Iterator[str]:
    """A database with unusual defaults."""
    for url in new_database(server_url):
        migrate(url)
        connection = psycopg2.connect(url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name, value in UNUSUAL.items():
                cursor.execute(f"ALTER DATABASE {make_url(url).database} SET {name} = '{value}'")
        connection.close()
        yield url


@pytest.fixture(params=["direct", pytest.param("pgbouncer", marks=POOLERS)])
def app(
    request: pytest.FixtureRequest, unusual: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flask]:
    """The application on that database, with and without PgBouncer."""
    monkeypatch.setattr(execution, "_prepares", True)
    if request.param == "direct":
        with service_on(unusual) as app:
            yield app
    else:
        with PgBouncer(unusual, size=4) as pooler, service_on(pooler.url) as app:
            yield app


@contextmanager
def service_on(url: str) -> Iterator[Flask]:
    app = create_app(Settings(database_url=url, auth="off", rate_limit=False, threads=8))
    yield app
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def test_required_settings_are_in_effect(app: Flask) -> None:
    names = {"names": database.array(sorted({*REQUIRED} - {"default_transaction_isolation"}))}
    with app.app_context(), all_customers():
        for _ in range(2):
            found: dict[str, str] = dict(database.run(SHOWN, names))
            assert found == {name: REQUIRED[name] for name in found}
            assert database.run(RUNNING, {}) == [("read committed",)]
        with database.transaction():
            assert database.run(RUNNING, {}) == [("read committed",)]
            assert dict(database.run(SHOWN, names)) == found


def test_concurrent_updates_of_one_job_all_succeed(app: Flask) -> None:
    url = f"/api/scrape-jobs/{make_job(app.test_client())['id']}"

    def update(number: int) -> int:
        return app.test_client().put(url, json={"stats": {"pagesProcessed": number}}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(update, range(160))) == {200}


def test_unusual_defaults_do_not_change_a_job(app: Flask) -> None:
    client = app.test_client()
    stats = {"a": 1.5, "b": "\\d '😀' \x7f", "c": [None, 0.25]}
    body = {
        "domain": "example.com",
        "metadata": {"tags": ["x"]},
        "scheduled_for": "2024-01-02T03:04:05.678Z",
    }
    job = client.post("/api/scrape-jobs", json=body).get_json()["data"]
    url = f"/api/scrape-jobs/{job['id']}"
    client.put(url, json={"status": "running", "started_at": "2024-02-03T00:00:00+05:45"})
    done = client.put(url, json={"status": "completed", "stats": stats}).get_json()["data"]
    assert (job["scheduled_for"], done["started_at"]) == (
        "2024-01-02T03:04:05.678Z",
        "2024-02-02T18:15:00.000Z",
    )
    assert done["stats"] == stats
    assert client.get("/api/scrape-jobs?tag=x").get_json()["data"][0]["id"]
    assert len(client.get(f"{url}/history").get_json()["data"]) == 3
    assert client.get("/api/scrape-jobs/stats?group_by=day").status_code == 200
    assert (
        app.test_cli_runner()
        .invoke(args=["audit", "verify"])
        .output.endswith("The history is as it was written.\n")
    )


@POOLERS
def test_pooled_connection_keeps_no_customer(unusual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_prepares", True)
    with PgBouncer(unusual, size=1) as pooler, service_on(pooler.url) as app:
        make_job(app.test_client())
        app.test_client().get("/api/scrape-jobs")
        connection = psycopg2.connect(pooler.url)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting(%s, true), current_setting('timezone')", (SETTING,)
            )
            assert cursor.fetchone() in ((None, "Asia/Kathmandu"), ("", "Asia/Kathmandu"))
        connection.close()


def test_settings_before_a_statement_cause_no_warning(app: Flask) -> None:
    client = app.test_client()
    client.put(f"/api/scrape-jobs/{make_job(client)['id']}", json={"status": "running"})
    client.get("/api/scrape-jobs")
    with app.app_context():
        connection = database.db.engine.raw_connection()
        assert connection.dbapi_connection.notices == []  # type: ignore[union-attr]
        connection.close()
