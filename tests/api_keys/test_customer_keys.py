"""Keys that are bound to a customer: what they see and create."""

import uuid
from typing import Any

import pytest

from app.api_keys.scopes import Scope
from app.webhooks.fan_out import FanOut
from support.keyed_api import (
    CUSTOMER,
    HOOK,
    HOOKS,
    JOBS,
    OBJECT_CALLS,
    OTHER_CUSTOMER,
    KeyedApi,
    RouteCall,
    refusal,
)


@pytest.mark.parametrize("call", OBJECT_CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_another_customers_object_is_not_found(api: KeyedApi, call: RouteCall) -> None:
    foreign = api.key(*(set(Scope) - {Scope.ALL, Scope.METRICS_READ}), customer=OTHER_CUSTOMER)
    job = api.make(api.admin, JOBS, {"domain": "example.com", "customer_config_id": str(CUSTOMER)})[
        "id"
    ]
    own = api.key(Scope.WEBHOOKS_MANAGE, customer=CUSTOMER)
    hook = api.make(own, HOOKS, HOOK)["id"]
    call = RouteCall(
        call.method, call.path, call.scopes, call.json, {**call.headers, "X-Lease-Token": "t"}
    )
    foreign_answer, missing = api.call(call, foreign, job, hook), api.call(call, foreign)
    assert (foreign_answer.status_code, foreign_answer.data) == (missing.status_code, missing.data)
    assert foreign_answer.status_code == 404
    assert api.ask("GET", f"{JOBS}/{job}", api.admin).get_json()["data"]["stats"] == {}


def test_a_customers_key_sees_only_that_customer(api: KeyedApi) -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    scopes = set(Scope) - {Scope.ALL, Scope.METRICS_READ}
    key = api.key(*scopes, customer=one)
    mine = api.make(key, JOBS, {"domain": "mine.example"})
    assert mine["customer_config_id"] == str(one)
    api.make(
        api.admin,
        JOBS,
        {"domain": "mine.example", "customer_config_id": str(other), "priority": 10},
    )
    api.make(api.admin, JOBS, {"domain": "mine.example", "priority": 10})
    for path in (
        JOBS,
        f"{JOBS}?domain=mine.example",
        f"{JOBS}?sort=priority",
        f"{JOBS}/next?limit=9",
    ):
        assert [job["id"] for job in api.ask("GET", path, key).get_json()["data"]] == [mine["id"]]
    assert api.ask("GET", f"{JOBS}?customer_config_id={other}", key).get_json()["data"] == []
    assert api.ask("GET", f"{JOBS}/stats", key).get_json()["data"]["total"] == 1
    assert (
        api.ask("GET", f"{JOBS}/stats?customer_config_id={other}", key).get_json()["data"]["total"]
        == 0
    )
    groups = api.ask("GET", f"{JOBS}/stats?group_by=domain", key).get_json()["data"]["groups"]
    assert [(group["key"], group["total"]) for group in groups] == [("mine.example", 1)]
    assert api.ask("GET", f"{JOBS}/{mine['id']}/queue", key).get_json()["data"]["position"] == 1
    taken = api.ask("POST", f"{JOBS}/next", key, {"worker_id": "w", "limit": 9}).get_json()["data"]
    assert [job["id"] for job in taken] == [mine["id"]]


@pytest.mark.parametrize("batch", [False, True])
def test_a_customers_key_cannot_create_for_others(api: KeyedApi, batch: bool) -> None:
    key = api.key(Scope.JOBS_WRITE, customer=CUSTOMER)
    job: Any = {"domain": "example.com", "customer_config_id": str(OTHER_CUSTOMER)}
    answer = api.ask("POST", JOBS, key, [{"domain": "example.com"}, job] if batch else job)
    place = "[1]." if batch else ""
    error = (
        f"Invalid {place}customer_config_id: must be the one that the key is bound to, or absent"
    )
    assert refusal(answer) == (400, {"success": False, "error": error})
    named = api.make(key, JOBS, {"domain": "example.com", "customer_config_id": str(CUSTOMER)})
    assert named["customer_config_id"] == str(CUSTOMER)


def test_a_customers_webhook_receives_only_own_events(api: KeyedApi) -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    key = api.key(Scope.WEBHOOKS_MANAGE, customer=one)
    hook = api.make(key, HOOKS, HOOK)
    unbound_hook = api.make(api.admin, HOOKS, HOOK)
    assert (hook["customer_config_id"], unbound_hook["customer_config_id"]) == (str(one), None)
    assert [found["id"] for found in api.ask("GET", HOOKS, key).get_json()["data"]] == [hook["id"]]
    owners = {}
    for owner in (one, other, None):
        fields = {"domain": "events.example", "customer_config_id": owner and str(owner)}
        job = api.make(api.admin, JOBS, fields)
        owners[job["id"]] = owner
        api.ask("PUT", f"{JOBS}/{job['id']}", api.admin, {"status": "running"})
    with api.app.app_context():
        FanOut().step()
    received = api.rows(
        "SELECT endpoint_id::text, job_id::text FROM webhook_deliveries"
        " WHERE job_id = ANY(%s::uuid[])",
        list(owners),
    )
    assert {owners[job] for endpoint, job in received if endpoint == hook["id"]} == {one}
    assert {owners[job] for endpoint, job in received if endpoint == unbound_hook["id"]} == {
        one,
        other,
        None,
    }
