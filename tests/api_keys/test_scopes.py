"""Scopes: the routes that each scope permits."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from app.api_keys.scopes import Scope
from app.http.operation import operation_of
from support.keyed_api import (
    JOBS,
    MERGE,
    OPEN_ROUTES,
    ROUTE_CALLS,
    WRITE,
    KeyedApi,
    RouteCall,
    refusal,
)
from support.routes import api_rules


def test_every_route_declares_its_scopes(api: KeyedApi) -> None:
    routes = {
        (method, rule.rule): api.app.view_functions[rule.endpoint]
        for rule in api_rules(api.app)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(routes) == set(ROUTE_CALLS) | OPEN_ROUTES
    for where, view in routes.items():
        declared = operation_of(view)
        assert declared is not None
        assert set(declared.scopes) == (
            set() if where in OPEN_ROUTES else ROUTE_CALLS[where].scopes
        )
        assert declared.is_open == (where in OPEN_ROUTES)


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("where", sorted(ROUTE_CALLS), ids=" ".join)
def test_each_scope_permits_only_its_own_routes(
    api: KeyedApi, where: tuple[str, str], scope: Scope
) -> None:
    call = ROUTE_CALLS[where]
    answer = api.call(call, api.key(scope))
    if scope is Scope.ALL or scope in call.scopes:
        assert answer.status_code not in (401, 403), answer.text
    else:
        declared = operation_of(view_of(api.app, where))
        assert declared is not None
        needed = " or ".join(declared.scopes)
        body = {
            "success": False,
            "error": "Not allowed",
            "details": f"This needs the scope {needed}",
        }
        assert refusal(answer) == (403, body)


def view_of(app: Flask, where: tuple[str, str]) -> Callable[..., Any]:
    rules = app.url_map.iter_rules()
    return next(
        app.view_functions[r.endpoint]
        for r in rules
        if (r.rule, where[0] in (r.methods or ())) == (where[1], True)
    )


def test_a_worker_key_updates_only_leased_jobs(api: KeyedApi) -> None:
    job = api.make(api.admin, JOBS, {"domain": "worked.example"})
    worker = api.key(Scope.QUEUE_WORK)
    ask = {"worker_id": "w", "domains": ["worked.example"]}
    (taken,) = api.ask("POST", f"{JOBS}/next", worker, ask).get_json()["data"]
    url, stats = f"{JOBS}/{job['id']}", {"stats": {"a": 1}}
    assert api.ask("PUT", url, worker, stats).status_code == 403
    assert api.ask("PUT", url, worker, stats, **{"X-Lease-Token": "wrong"}).status_code == 409
    assert (
        api.ask("PUT", url, worker, stats, **{"X-Lease-Token": taken["lease_token"]}).status_code
        == 200
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_cancelling_by_update_needs_the_cancel_scope(api: KeyedApi, method: str) -> None:
    job = api.make(api.admin, JOBS, {"domain": "example.com"})["id"]
    headers = MERGE if method == "PATCH" else {}
    cancel = RouteCall(method, f"{JOBS}/{job}", WRITE, {"status": "cancelled"}, headers)
    refused = api.call(cancel, api.key(Scope.JOBS_WRITE))
    assert refusal(refused)[1]["details"] == "This needs the scope jobs:cancel"
    assert refused.status_code == 403
    assert api.ask("GET", f"{JOBS}/{job}", api.admin).get_json()["data"]["status"] == "pending"
    assert api.call(cancel, api.key(Scope.JOBS_WRITE, Scope.JOBS_CANCEL)).status_code == 200
