"""Authentication: valid and invalid keys, and their record in the log and the history."""

import uuid

import pytest

from app.api_keys import secrets
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from support.keyed_api import (
    CUSTOMER,
    HOOK,
    HOOKS,
    JOBS,
    ROUTE_CALLS,
    KeyedApi,
    not_authenticated,
    refusal,
)
from support.logs import facts_of
from support.service import wait_until


@pytest.mark.parametrize("where", sorted(ROUTE_CALLS), ids=" ".join)
def test_a_request_without_valid_key_is_refused(api: KeyedApi, where: tuple[str, str]) -> None:
    call = ROUTE_CALLS[where]
    answer = api.call(call, None)
    assert refusal(answer) == not_authenticated("Send a key: Authorization: Bearer <key>")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="scrape-jobs"'
    wrong = api.admin[:-1] + ("A" if api.admin[-1] != "A" else "B")
    for key in (
        "x",
        str(secrets.generate()),
        wrong,
        api.admin + "x",
        api.key(Scope.ALL, seconds=-1),
    ):
        assert refusal(api.call(call, key)) == not_authenticated("The key is not valid")


def test_health_checks_and_unknown_routes_need_no_key(api: KeyedApi) -> None:
    assert api.client.get("/healthz").status_code == api.client.get("/readyz").status_code == 200
    assert api.client.get("/api/nothing").status_code == 404


def test_each_refused_request_is_logged_with_its_actor(
    api: KeyedApi, caplog: pytest.LogCaptureFixture
) -> None:
    job = api.make(api.admin, JOBS, {"domain": "example.com"})["id"]
    hook = api.make(api.admin, HOOKS, HOOK)["id"]
    reader, foreign = (
        api.key(Scope.JOBS_READ),
        api.key(Scope.JOBS_READ, Scope.WEBHOOKS_MANAGE, customer=CUSTOMER),
    )
    over = api.key(Scope.ALL, seconds=-1)
    show, manage = f"{JOBS}/{job}", f"{HOOKS}/{hook}"
    attempts = [  # key, method, path, status, actor
        ("x", "GET", show, 401, None),
        (over, "GET", show, 401, over.split("_")[1]),
        (reader, "DELETE", show, 403, reader.split("_")[1]),
        (foreign, "GET", show, 404, foreign.split("_")[1]),
        (foreign, "DELETE", manage, 404, foreign.split("_")[1]),
    ]
    with caplog.at_level("WARNING"):
        ids = [
            api.ask(method, path, key).headers["X-Request-ID"]
            for key, method, path, _, _ in attempts
        ]
    logged = [facts_of(record) for record in caplog.records if record.msg == "refused"]
    facts = ("request_id", "method", "status", "actor", "job_id", "webhook_id", "address")
    assert [tuple(line[fact] for fact in facts) for line in logged] == [
        (
            id,
            method,
            status,
            actor,
            job if path == show else None,
            hook if path == manage else None,
            "127.0.0.1",
        )
        for id, (_, method, path, status, actor) in zip(ids, attempts, strict=True)
    ]


def test_the_time_of_last_use_is_stored(api: KeyedApi) -> None:
    key = api.key(Scope.JOBS_READ)
    api.ask("GET", JOBS, key)
    task = api.app.extensions["key_use_recorder"]
    task.start()
    is_recent = "SELECT last_used_at > now() - interval '1 min' FROM api_keys WHERE id = %s"
    wait_until(lambda: api.rows(is_recent, key.split("_")[1]) == [(True,)])
    task.stop()


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("fe80::1%<b>password=hunter2", "fe80::1"),
        ("<b>password=hunter2", None),
    ],
)
def test_only_an_address_is_stored_from_proxy_headers(
    api: KeyedApi, sent: str, stored: str | None
) -> None:
    app = create_app(
        Settings(database_url=api.url, auth="off", rate_limit=False, trusted_proxies=1)
    )
    answer = app.test_client().post(
        JOBS, json={"domain": "example.com"}, headers={"X-Forwarded-For": sent}
    )
    job = answer.get_json()["data"]["id"]
    assert api.rows("SELECT address FROM job_events WHERE job_id = %s", job) == [(stored,)]
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def test_the_history_names_the_key(api: KeyedApi) -> None:
    key = api.key(Scope.JOBS_WRITE, Scope.JOBS_READ)
    job = api.make(key, JOBS, {"domain": "example.com"})
    (event,) = api.ask("GET", f"{JOBS}/{job['id']}/history", key).get_json()["data"]
    assert event["actor"] == {"type": "key", "id": key.split("_")[1], "name": "a test's key"}
    assert api.rows("SELECT address FROM job_events WHERE job_id = %s", job["id"]) == [
        ("127.0.0.1",)
    ]


def test_idempotency_keys_are_separate_for_each_key(api: KeyedApi) -> None:
    first, second = (api.key(Scope.JOBS_WRITE) for _ in range(2))
    header = {"Idempotency-Key": uuid.uuid4().hex}
    ids = {
        api.ask("POST", JOBS, key, {"domain": "e.example"}, **header).get_json()["data"]["id"]
        for key in (first, second)
    }
    assert len(ids) == 2
