"""Tenant isolation: a customer's key gets answers as if no other customer existed."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.database import migrate, new_database
from support.tenant_actions import RandomActions
from support.tenant_comparison import Comparison, alone
from support.tenants import (
    HOOK,
    HOOKS,
    JOBS,
    NIL,
    NOWHERE,
    SharedService,
    count,
    keep_rows_still,
    locks_held,
    shared_service,
)


@pytest.mark.parametrize("seed", [1, 2])
def test_answers_are_those_of_a_single_customer(server_url: str, seed: int) -> None:
    for url in new_database(server_url):
        migrate(url)
        keep_rows_still(url)
        with shared_service(url) as tenants:
            actions = RandomActions(tenants, seed)
            # With no events counted, with some counted, and with all counted.
            for repetitions, counts in ((110, False), (40, False), (10, True)):
                for _ in range(repetitions):
                    actions.act()
                if counts:
                    count(tenants.app)
                with alone(tenants) as app:
                    comparison = Comparison(actions, app)
                    comparison.reads()
                    comparison.foreign_cursors()
                    comparison.foreign_ids()
                    comparison.creations()
                    comparison.claims()
                    comparison.replayed()
                    assert comparison.asked > 150
                count(tenants.app)


def test_a_waiting_claim_gets_only_own_jobs(tenants: SharedService) -> None:
    domain = f"{uuid.uuid4().hex}.example"
    ask = {"worker_id": "w", "domains": [domain], "wait_seconds": 1}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tenants.a.data, "POST", f"{JOBS}/next", ask)
        others = [
            tenants.b.create(domain=domain, priority=10)["id"],
            tenants.admin.create(domain=domain)["id"],
        ]
        assert waiting.result(30) == []
        assert {tenants.admin.data("GET", f"{JOBS}/{job}")["status"] for job in others} == {
            "pending"
        }
        waiting = pool.submit(tenants.a.data, "POST", f"{JOBS}/next", {**ask, "wait_seconds": 20})
        tenants.b.create(domain=domain, priority=10)
        own = tenants.a.create(domain=domain, priority=1)["id"]
        assert [job["id"] for job in waiting.result(30)] == [own]


def test_idempotency_keys_are_separate_for_each_customer(tenants: SharedService) -> None:
    name = uuid.uuid4().hex
    holders = [tenants.a, tenants.b, tenants.admin, tenants.holder(tenants.a_id)]
    for path, body in ((JOBS, {"domain": "idem.example"}), (HOOKS, HOOK)):
        answers = [
            holder.ask("POST", path, body, Idempotency_Key=f"{name}{path}") for holder in holders
        ]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.get_json()["data"]["id"] for answer in answers}) == len(holders)
    # Another body is a conflict only under a key that the same caller has used.
    own = uuid.uuid4().hex
    assert (
        tenants.b.ask("POST", JOBS, {"domain": "b.example"}, Idempotency_Key=own).status_code == 201
    )
    assert (
        tenants.a.ask("POST", JOBS, {"domain": "a.example"}, Idempotency_Key=own).status_code == 201
    )
    assert (
        tenants.a.ask("POST", JOBS, {"domain": "b.example"}, Idempotency_Key=own).status_code == 422
    )


def test_foreign_use_of_an_idempotency_key_is_invisible(tenants: SharedService) -> None:
    name = uuid.uuid4().hex
    caller = tenants.b.key.split("_")[1]
    claim = (
        "INSERT INTO idempotency_keys (caller, key, fingerprint, created_at)"
        f" VALUES ('{caller}', '{name}', '', now())"
    )
    with locks_held(tenants.url, claim):
        assert (
            tenants.a.ask("POST", JOBS, {"domain": "a.example"}, Idempotency_Key=name).status_code
            == 201
        )


def test_queue_position_hides_foreign_use_of_job_limit(
    tenants: SharedService,
) -> None:
    domain = f"{uuid.uuid4().hex}.example"
    job = tenants.a.create(domain=domain, config={"maxConcurrent": 1})["id"]
    before = tenants.a.ask("GET", f"{JOBS}/{job}/queue").data
    for holder in (tenants.b, tenants.admin):
        running = holder.create(domain=domain)["id"]
        holder.data("PUT", f"{JOBS}/{running}", {"status": "running"})
    assert tenants.a.ask("GET", f"{JOBS}/{job}/queue").data == before


def test_queue_position_hides_foreign_use_of_domain_limit(
    shared_database: str,
) -> None:
    with shared_service(shared_database, domain_limit=2) as tenants:
        domain = f"{uuid.uuid4().hex}.example"
        waiting, running = (tenants.a.create(domain=domain)["id"] for _ in range(2))
        tenants.a.data("PUT", f"{JOBS}/{running}", {"status": "running"})
        before = tenants.a.ask("GET", f"{JOBS}/{waiting}/queue").data
        for _ in range(3):
            foreign = tenants.b.create(domain=domain)["id"]
            tenants.b.data("PUT", f"{JOBS}/{foreign}", {"status": "running"})
        assert tenants.a.ask("GET", f"{JOBS}/{waiting}/queue").data == before
        # A key for all customers sees the limit.
        held_back_by = tenants.admin.data("GET", f"{JOBS}/{waiting}/queue")["held_back_by"]
        assert held_back_by == {
            "limit": "SCRAPE_JOBS_DOMAIN_LIMIT", "domain": domain, "allowed": 2, "running": 4,
        }  # fmt: skip


def test_foreign_updates_do_not_exhaust_a_jobs_limit(shared_database: str) -> None:
    with shared_service(shared_database, rate_limit=True, rate_limit_job=5) as tenants:
        job = f"{JOBS}/{tenants.b.create()['id']}"
        for _ in range(8):
            tenants.a.ask("PUT", job, {"stats": {}})
        assert tenants.b.ask("PUT", job, {"stats": {"a": 1}}).status_code == 200


def test_rate_limit_headers_hide_updates_by_others(shared_database: str) -> None:
    with shared_service(shared_database, rate_limit=True, rate_limit_job=5) as tenants:
        job = tenants.b.create()["id"]
        for _ in range(4):
            tenants.b.data("PUT", f"{JOBS}/{job}", {"stats": {"a": 1}})
        other = tenants.holder(tenants.a_id)
        for _ in range(3):
            foreign = tenants.a.ask("PUT", f"{JOBS}/{job}", {"stats": {}}, X_Request_ID="r")
            missing = other.ask("PUT", f"{JOBS}/{NOWHERE}", {"stats": {}}, X_Request_ID="r")
            assert (foreign.status_code, foreign.data) == (missing.status_code, missing.data)
            # The two requests may be sent in different seconds.
            for answer in (foreign, missing):
                answer.headers.pop("RateLimit-Reset")
            assert list(foreign.headers) == list(missing.headers)


def test_statistics_of_foreign_customers_are_empty(
    tenants: SharedService,
) -> None:
    tenants.admin.failed(customer_config_id=NIL)
    for counted in (False, True):
        if counted:
            count(tenants.app)
        for query in (f"customer_config_id={tenants.b_id}", f"customer_config_id={NIL}"):
            for more in (
                "",
                "&domain=shared.example",
                "&group_by=domain",
                "&from=2020-01-01T00:00:00Z&group_by=hour",
            ):
                found = tenants.a.data("GET", f"{JOBS}/stats?{query}{more}")
                assert (found["total"], found["errors"], found["groups"]) == (0, [], [])


def test_a_batch_error_locates_the_foreign_customer(tenants: SharedService) -> None:
    foreign = {"domain": "a.example", "customer_config_id": tenants.b_id}
    for place in range(2):
        batch = [{"domain": "a.example"}] * place + [foreign]
        error = tenants.a.ask("POST", JOBS, batch).get_json()["error"]
        field = f"[{place}].customer_config_id"
        assert error == f"Invalid {field}: must be the one that the key is bound to, or absent"
    assert tenants.a.data("GET", JOBS) == []
