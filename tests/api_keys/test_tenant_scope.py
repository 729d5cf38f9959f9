"""The tenant scope of statements, threads, commands and requests."""

import contextlib
import threading
import uuid
from dataclasses import replace

import pytest

from app import database
from app.database import Statement, tenant_scope
from app.database.catalogue import statements
from app.database.functions import functions
from app.errors import LeaseLost
from app.events.provenance import ANONYMOUS, Provenance
from app.jobs import list_queries
from app.jobs import service as jobs
from app.queue import sweeper
from app.statistics import service as statistics_service
from support.service import wait_until
from support.tenants import JOBS, NOWHERE, SharedService

BACKGROUND_STATEMENTS = {
    "claim_webhook_deliveries", "count_events", "count_pending_webhooks", "fan_out_status_changes",
    "find_expired_leases",
    "forget_expired_keys", "keep_webhook_endpoints_of_settings", "release_webhook_deliveries",
    "resume_webhook_deliveries", "secrets_of_webhook_endpoints_of_settings",
    "settle_webhook_deliveries",
}  # fmt: skip
"""Statements of background threads; no caller sees their rows."""


OPERATOR_STATEMENTS = {
    "count_jobs", "create_api_key", "endpoints_with_deliveries", "events_of_job", "jobs_by_status",
    "list_api_keys",
    "look_for_leftover_deliveries", "look_for_old_jobs", "prunable_span", "queue_depth",
    "remove_deliveries_of_job",
    "remove_expired_keys", "remove_leftover_deliveries", "remove_old_jobs", "revoke_api_key",
    "verify_ends_of_histories", "verify_events",
}  # fmt: skip
"""Statements of commands and of /metrics, which keys of customers cannot use."""


FILTERED_OTHERWISE = {
    "create_jobs": "the service sets the customer of the new jobs",
    "claim_idempotency_key": "by the key's id",
    "read_idempotency_key": "by the key's id",
    "remember_answer": "by the key's id",
    "release_idempotency_key": "by the key's id",
    "get_api_key": "by the key's id",
    "record_use_of_api_keys": "by the keys' ids",
    "drop_webhook_deliveries": "by an endpoint that the caller could delete",
    "list_webhook_deliveries": "by an endpoint that the caller can see",
    "redeliver_webhook": "by an endpoint that the caller can see",
    "redeliver_failed_webhooks": "by an endpoint that the caller can see",
    "enqueue_test_webhook": "by an endpoint that the caller can see",
    "lease_job": "by a candidate that the caller can see",
    "count_running": "the service's limits count all jobs of a domain",
    "count_running_by_domain": "the service's limits count all jobs of a domain",
}


CUSTOMER_TABLES = (
    "scrape_jobs", "job_events", "outbox", "uncounted_events", "webhook_endpoints",
    "webhook_deliveries",
    "idempotency_keys", "api_keys", "job_totals",
)  # fmt: skip


def with_called_functions(statement: Statement) -> str:
    """Return the SQL of the statement and of the database functions that it calls."""
    called = (each for name, each in functions().items() if f"{name}(" in statement.sql)
    return "".join([statement.sql, *(each.definition for each in called)])


def test_every_statement_filters_by_tenant_or_is_listed() -> None:
    found = {
        name: one
        for name, one in statements().items()
        if any(table in with_called_functions(one) for table in CUSTOMER_TABLES)
    }
    filtered = {
        name for name, statement in found.items() if tenant_scope.PARAMETER in statement.parameters
    }
    assert len(filtered) > 20
    assert set(found) - filtered == BACKGROUND_STATEMENTS | OPERATOR_STATEMENTS | set(
        FILTERED_OTHERWISE
    )


def test_a_statement_without_tenant_scope_raises(tenants: SharedService) -> None:
    with tenants.app.app_context():
        for name, statement in statements().items():
            if tenant_scope.PARAMETER in statement.parameters:
                with pytest.raises(tenant_scope.TenantScopeMissing):
                    database.run(statement, dict.fromkeys(statement.parameters))
                assert name not in BACKGROUND_STATEMENTS | OPERATOR_STATEMENTS
        order = list_queries.ORDERS["created_at"]
        for ask in (
            lambda: jobs.page(list_queries.JobFilters(), order, None, 10),
            lambda: jobs.create([{"customer_config_id": None}], Provenance(ANONYMOUS, None)),
            lambda: statistics_service.statistics(
                None, None, customer=None, domain=None, job_type=None, group=None
            ),
        ):
            with pytest.raises(tenant_scope.TenantScopeMissing):
                ask()


def test_a_background_thread_must_set_its_scope(tenants: SharedService) -> None:
    job = tenants.a.create(domain=f"{uuid.uuid4().hex}.example")
    tenants.a.data("POST", f"{JOBS}/next", {"worker_id": "w", "domains": [job["domain"]]})
    tenants.sql(
        "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 hour' WHERE id = %s",
        job["id"],
    )
    raised: list[BaseException] = []

    def sweep() -> None:
        try:
            with tenants.app.app_context():
                sweeper.sweep()
        except tenant_scope.TenantScopeMissing as error:
            raised.append(error)

    with tenant_scope.all_customers():  # the scope of one thread is not the scope of another
        thread = threading.Thread(target=sweep)
        thread.start()
        thread.join()
    assert raised
    assert tenants.a.data("GET", f"{JOBS}/{job['id']}")["status"] == "running"
    housekeeping = tenants.app.extensions["housekeeping"]
    housekeeping.start()
    try:
        wait_until(lambda: tenants.a.data("GET", f"{JOBS}/{job['id']}")["status"] == "pending", 30)
    finally:
        housekeeping.stop()


@pytest.mark.parametrize(
    "words",
    [
        "queue sweep", "statistics count", "jobs prune --older-than 900d",
        "jobs prune --older-than 900d --dry-run",
        "audit verify", "keys list", "keys create x --scope all", "keys revoke {}",
        "keys rotate {}",
    ],
)  # fmt: skip
def test_every_command_runs_for_all_customers(
    tenants: SharedService, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants.b.failed()
    asked: list[str] = []
    run = database.run

    def run_in_scope(statement: Statement, parameters: database.Parameters) -> list[database.Row]:
        asked.append(statement.name)
        assert tenant_scope.customer() is None, statement.name
        return run(statement, parameters)

    monkeypatch.setattr(database, "run", run_in_scope)
    result = tenants.app.test_cli_runner().invoke(
        args=words.format(tenants.b.key.split("_")[1]).split()
    )
    assert result.exception is None, (result.exception, result.output)
    assert asked


def test_the_tenant_scope_ends_with_its_request(tenants: SharedService) -> None:
    job = tenants.a.create()["id"]
    for method, path, status in (
        ("GET", f"{JOBS}/{job}", 200), ("GET", f"{JOBS}/{NOWHERE}", 404), ("GET", "/metrics", 403),
        ("PUT", JOBS, 405),
        ("OPTIONS", JOBS, 200), ("GET", "/nowhere", 404), ("GET", f"{JOBS}/x", 400),
    ):  # fmt: skip
        assert tenants.a.ask(method, path).status_code == status
        with pytest.raises(tenant_scope.TenantScopeMissing):
            tenant_scope.customer()
    assert replace(tenants.a, key="x").ask("GET", f"{JOBS}/{job}").status_code == 401
    with pytest.raises(tenant_scope.TenantScopeMissing):
        tenant_scope.customer()


def test_nested_tenant_scopes_restore_the_outer_one() -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    with tenant_scope.tenant_scope(one):
        with tenant_scope.tenant_scope(other):
            assert tenant_scope.customer() == other
        assert tenant_scope.customer() == one
        with contextlib.suppress(LeaseLost), tenant_scope.all_customers():
            assert tenant_scope.customer() is None
            raise LeaseLost
        assert tenant_scope.customer() == one
