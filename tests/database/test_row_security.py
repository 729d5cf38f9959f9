"""The second wall: a statement that forgets to narrow sees no more than its caller may, where the
service is not the tables' owner."""

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
    "scrape_jobs", "job_events", "webhook_endpoints", "webhook_deliveries", "job_totals", "job_duration_totals",
    "job_error_totals",
}  # fmt: skip


@pytest.fixture(scope="module")
def owner_url(server_url: str) -> Iterator[str]:
    """A database's URL, as the owner of its tables."""
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
    """The service as a role that may do all_customers but is not the owner."""
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
    """A job of each of two customers and of nobody, by customer; one of them changed, all of them
    counted."""
    found = {}
    for customer in (ONE, OTHER, None):
        with tenant_scope.tenant_scope(customer):
            (job,) = jobs.create([a_job()], PROVENANCE)
            jobs.update(job.id, {"status": "running"}, Preconditions(), PROVENANCE)
        found[customer] = job.id
    return found


def a_job() -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()), "domain_id": str(uuid.uuid4()), "customer_config_id": None, "domain": "example.com",
        "job_type": "page_scrape", "priority": 5, "max_retries": 3, "max_concurrent": None, "config": {},
        "metadata": {}, "scheduled_for": None,
    }  # fmt: skip


def forgetful(sql: str, name: str = "forgetful") -> list[tuple[Any, ...]]:
    """Run a statement that does not narrow what it reads."""
    return database.run(Statement(name, sql), {})


def _see_all_and_fail() -> None:
    with database.transaction():
        forgetful(ALL_JOBS)
        forgetful("SELECT 1 / 0", "broken")


ALL_JOBS = "SELECT id FROM scrape_jobs"
ALL_EVENTS = "SELECT DISTINCT job_id FROM job_events"


@pytest.mark.parametrize("sql", [ALL_JOBS, ALL_EVENTS])
@pytest.mark.parametrize("customer", [ONE, OTHER])
def test_a_statement_that_forgets_to_narrow_sees_its_caller_s_rows_alone(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID], sql: str, customer: uuid.UUID
) -> None:
    with tenant_scope.tenant_scope(customer):
        assert forgetful(sql) == [(made[customer],)]
        with database.transaction():
            assert forgetful(sql) == [(made[customer],)]
    with tenant_scope.all_customers():
        assert {row[0] for row in forgetful(sql)} >= set(made.values())


def test_a_query_made_of_parts_that_forgets_to_narrow_sees_its_caller_s_rows_alone(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID]
) -> None:
    for customer in (ONE, None, OTHER):
        with tenant_scope.tenant_scope(customer):
            found = {row[0] for row in database.fetch(select(ScrapeJob.id))}
        assert found >= set(made.values()) if customer is None else found == {made[customer]}


def test_where_nobody_has_said_who_asks_nothing_is_seen(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID]
) -> None:
    assert forgetful(ALL_JOBS) == []
    assert database.fetch(select(ScrapeJob.id)) == []


def test_a_statement_that_forgets_to_narrow_changes_nobody_else_s_rows(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID]
) -> None:
    with tenant_scope.tenant_scope(ONE):
        changed = forgetful(
            "UPDATE scrape_jobs SET worker_id = 'mine' RETURNING id", "forgetful_update"
        )
        assert changed == [(made[ONE],)]
        with pytest.raises(DatabaseFailure):
            forgetful(
                f"UPDATE scrape_jobs SET customer_config_id = '{OTHER}' RETURNING id", "given_away"
            )


def test_what_failed_or_was_rolled_back_leaves_no_other_caller_s_sight_behind(
    app: Flask, made: dict[uuid.UUID | None, uuid.UUID]
) -> None:
    for _ in range(3):  # whichever of the pool's connections it is
        with tenant_scope.all_customers(), pytest.raises(DatabaseFailure):
            forgetful("SELECT 1 / 0", "broken")
        with tenant_scope.tenant_scope(ONE):
            assert forgetful(ALL_JOBS) == [(made[ONE],)]
        with tenant_scope.all_customers(), pytest.raises(DatabaseFailure):
            _see_all_and_fail()
        with tenant_scope.tenant_scope(ONE), database.transaction():
            assert forgetful(ALL_JOBS) == [(made[ONE],)]


def test_a_customer_s_webhook_goes_with_all_that_it_is_owed(app: Flask, owner_url: str) -> None:
    hook, fields = uuid.uuid4(), NEW_ENDPOINT.parse({"url": "http://93.184.216.34/hook"})
    with tenant_scope.tenant_scope(ONE):
        webhooks.create(hook, fields, TargetPolicy.parse(()), Vault(()), 100)
        webhooks.send_test(hook)
    owed = "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = %s"
    with owners_cursor(owner_url) as cursor:
        cursor.execute(owed, [str(hook)])
        assert cursor.fetchone() == (1,)
        with tenant_scope.tenant_scope(ONE):
            webhooks.delete(hook)
        cursor.execute(owed, [str(hook)])
        assert cursor.fetchone() == (0,)


def test_every_table_that_is_of_customers_has_the_wall(owner_url: str) -> None:
    with owners_cursor(owner_url) as cursor:
        cursor.execute(
            """SELECT DISTINCT c.table_name, k.relrowsecurity FROM information_schema.columns c
            JOIN pg_class k ON k.oid = c.table_name::regclass
            WHERE c.table_schema = 'public'
                AND c.column_name IN ('customer_config_id', 'customer', 'job_id', 'endpoint_id')"""
        )
        walls = dict(cursor.fetchall())
    # The rest are work to be done, which holds nothing but ids; and keys, which are looked up
    # before it is known who asks.
    assert {table for table, has in walls.items() if has} == TABLES
    assert {table for table, has in walls.items() if not has} == {
        "outbox",
        "uncounted_events",
        "api_keys",
    }


def test_the_owner_passes_the_wall(owner_url: str, made: dict[uuid.UUID | None, uuid.UUID]) -> None:
    with owners_cursor(owner_url) as cursor:
        cursor.execute(ALL_JOBS)
        assert {row[0] for row in cursor.fetchall()} >= {str(job) for job in made.values()}
