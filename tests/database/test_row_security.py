"""Row security: without the condition of the tenant scope, a statement sees no other rows.

This holds for roles that do not own the tables.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.engine import make_url

from app import database
from app.config import Settings
from app.database import Statement, tenant_scope
from app.errors import DatabaseFailure
from app.events.provenance import SYSTEM, Provenance
from app.factory import create_app
from app.jobs import service as jobs
from app.jobs.change_request import Preconditions
from app.jobs.models import ScrapeJob
from app.vault import Vault
from app.webhooks import service as webhooks
from app.webhooks.schemas import NEW_ENDPOINT
from app.webhooks.targets import TargetPolicy
from support.database import migrate, new_database

ONE, OTHER = uuid.uuid4(), uuid.uuid4()
PROVENANCE = Provenance(SYSTEM, "r-1", "192.0.2.1")
TABLES = {
    "scrape_jobs", "job_events", "webhook_endpoints", "webhook_deliveries", "job_totals",
    "job_duration_totals", "job_error_totals",
}  # fmt: skip


@pytest.fixture(scope="module")
def owner_url(server_url: str) -> Iterator[str]:
    """The URL of a database for the owner of its tables."""
    for url in new_database(server_url):
        migrate(url)
        yield url


@contextmanager
def owners_cursor(url: str) -> Iterator[Any]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        yield connection.cursor()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def app(owner_url: str) -> Iterator[Flask]:
    """The application with a role that has all rights but does not own the tables."""
    role = f"service_{uuid.uuid4().hex}"
    with owners_cursor(owner_url) as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
        cursor.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    url = make_url(owner_url).set(username=role, password="p").render_as_string(hide_password=False)
    app = create_app(Settings(database_url=url, auth="off", rate_limit=False))
    with app.app_context():
        yield app
        database.db.engine.dispose()
    with owners_cursor(owner_url) as cursor:
        cursor.execute(f"DROP OWNED BY {role}")
        cursor.execute(f"DROP ROLE {role}")


@pytest.fixture(scope="module")
def made(app: Flask) -> dict[uuid.UUID | None, uuid.UUID]:
    """A running job of each of two customers, and one without a customer, by customer."""
    found = {}
    for customer in (ONE, OTHER, None):
        with tenant_scope.tenant_scope(customer):
            (job,) = jobs.create([a_job()], PROVENANCE)
            jobs.update(job.id, {"status": "running"}, Preconditions(), PROVENANCE)
        found[customer] = job.id
    return found


def a_job() -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()), "domain_id": str(uuid.uuid4()), "customer_config_id": None,
        "domain": "example.com", "job_type": "page_scrape", "priority": 5, "max_retries": 3,
        "max_concurrent": None, "config": {}, "metadata": {}, "scheduled_for": None,
    }  # fmt: skip


def run_unscoped(sql: str, name: str = "unscoped") -> list[tuple[Any, ...]]:
    """Run a statement without the condition of the tenant scope."""
    return database.run(Statement(name, promise="A statement of a test.", sql=sql), {})


def _read_all_and_fail() -> None:
    with database.transaction():
        run_unscoped(ALL_JOBS)
        run_unscoped("SELECT 1 / 0", "broken")


ALL_JOBS = "SELECT id FROM scrape_jobs"
ALL_EVENTS = "SELECT DISTINCT job_id FROM job_events"


@pytest.mark.parametrize("sql", [ALL_JOBS, ALL_EVENTS])
@pytest.mark.parametrize("customer", [ONE, OTHER])
def test_statement_without_condition_sees_own_rows(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID], sql: str, customer: uuid.UUID
) -> None:
    with tenant_scope.tenant_scope(customer):
        assert run_unscoped(sql) == [(made[customer],)]
        with database.transaction():
            assert run_unscoped(sql) == [(made[customer],)]
    with tenant_scope.all_customers():
        assert {row[0] for row in run_unscoped(sql)} >= set(made.values())


def test_composed_query_without_condition_sees_own_rows(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID]
) -> None:
    for customer in (ONE, None, OTHER):
        with tenant_scope.tenant_scope(customer):
            found = {row[0] for row in database.fetch(select(ScrapeJob.id))}
        assert found >= set(made.values()) if customer is None else found == {made[customer]}


def test_without_a_tenant_scope_no_row_is_seen(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID]
) -> None:
    assert run_unscoped(ALL_JOBS) == []
    assert database.fetch(select(ScrapeJob.id)) == []


def test_statement_without_condition_changes_own_rows(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID]
) -> None:
    with tenant_scope.tenant_scope(ONE):
        changed = run_unscoped(
            "UPDATE scrape_jobs SET worker_id = 'mine' RETURNING id", "unscoped_update"
        )
        assert changed == [(made[ONE],)]
        with pytest.raises(DatabaseFailure):
            run_unscoped(
                f"UPDATE scrape_jobs SET customer_config_id = '{OTHER}' RETURNING id", "given_away"
            )


def test_failed_statements_leave_no_scope_behind(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID]
) -> None:
    for _ in range(3):  # any connection of the pool may be used
        with tenant_scope.all_customers(), pytest.raises(DatabaseFailure):
            run_unscoped("SELECT 1 / 0", "broken")
        with tenant_scope.tenant_scope(ONE):
            assert run_unscoped(ALL_JOBS) == [(made[ONE],)]
        with tenant_scope.all_customers(), pytest.raises(DatabaseFailure):
            _read_all_and_fail()
        with tenant_scope.tenant_scope(ONE), database.transaction():
            assert run_unscoped(ALL_JOBS) == [(made[ONE],)]


def test_deleted_webhook_takes_its_deliveries(app: Flask, owner_url: str) -> None:
    hook, fields = uuid.uuid4(), NEW_ENDPOINT.parse({"url": "http://93.184.216.34/hook"})
    with tenant_scope.tenant_scope(ONE):
        webhooks.create(hook, fields, TargetPolicy.parse(()), Vault(()), 100)
        webhooks.send_test(hook)
    deliveries = "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = %s"
    with owners_cursor(owner_url) as cursor:
        cursor.execute(deliveries, [str(hook)])
        assert cursor.fetchone() == (1,)
        with tenant_scope.tenant_scope(ONE):
            webhooks.delete(hook)
        cursor.execute(deliveries, [str(hook)])
        assert cursor.fetchone() == (0,)


def test_every_customer_table_has_row_security(owner_url: str) -> None:
    with owners_cursor(owner_url) as cursor:
        cursor.execute(
            """SELECT DISTINCT c.table_name, k.relrowsecurity FROM information_schema.columns c
            JOIN pg_class k ON k.oid = c.table_name::regclass
            WHERE c.table_schema = 'public'
                AND c.column_name IN ('customer_config_id', 'customer', 'job_id', 'endpoint_id')"""
        )
        secured = dict(cursor.fetchall())
    # The other tables are pending work, which contains only ids, and API keys, which are looked up
    # before the customer is known.
    assert {table for table, is_secured in secured.items() if is_secured} == TABLES
    assert {table for table, is_secured in secured.items() if not is_secured} == {
        "outbox",
        "uncounted_events",
        "api_keys",
    }


def test_owner_sees_all_rows(owner_url: str, made: dict[uuid.UUID | None, uuid.UUID]) -> None:
    with owners_cursor(owner_url) as cursor:
        cursor.execute(ALL_JOBS)
        assert {row[0] for row in cursor.fetchall()} >= {str(job) for job in made.values()}
