"""Who may do what: every route, asked with every kind of key, and what a customer's key can see."""

import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.api_keys import secrets, service
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from app.http.operation import _OPERATIONS
from support.database import migrate, new_database
from support.service import ROOT, Service, environment, wait_until

JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"
NO_ID = "0190f3a0-0000-7000-8000-000000000000"
ONE, OTHER = uuid.uuid4(), uuid.uuid4()
HOOK = {"url": "http://93.184.216.34/hook"}
READ, WRITE, CANCEL = {Scope.JOBS_READ}, {Scope.JOBS_WRITE}, {Scope.JOBS_CANCEL}
WORK, MANAGE, METRICS = {Scope.QUEUE_WORK}, {Scope.WEBHOOKS_MANAGE}, {Scope.METRICS_READ}


@dataclass
class Call:
    """A request to one route, and the scopes of which one lets it in."""

    method: str
    path: str
    scopes: set[Scope]
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


MERGE = {"Content-Type": "application/merge-patch+json"}
CALLS: Mapping[tuple[str, str], Call] = {
    ("GET", "/api/scrape-jobs"): Call("GET", JOBS, READ),
    ("POST", "/api/scrape-jobs"): Call("POST", JOBS, WRITE, {"domain": "example.com"}),
    ("GET", "/api/scrape-jobs/<id>"): Call("GET", JOBS + "/{job}", READ),
    ("PUT", "/api/scrape-jobs/<id>"): Call("PUT", JOBS + "/{job}", WRITE, {"stats": {"a": 1}}),
    ("PATCH", "/api/scrape-jobs/<id>"): Call(
        "PATCH", JOBS + "/{job}", WRITE, {"stats": {"a": 1}}, MERGE
    ),
    ("DELETE", "/api/scrape-jobs/<id>"): Call("DELETE", JOBS + "/{job}", CANCEL),
    ("GET", "/api/scrape-jobs/<id>/history"): Call("GET", JOBS + "/{job}/history", READ),
    ("GET", "/api/scrape-jobs/<id>/queue"): Call("GET", JOBS + "/{job}/queue", READ),
    ("POST", "/api/scrape-jobs/<id>/retry"): Call("POST", JOBS + "/{job}/retry", WRITE),
    ("POST", "/api/scrape-jobs/<id>/release"): Call("POST", JOBS + "/{job}/release", WORK),
    ("POST", "/api/scrape-jobs/<id>/heartbeat"): Call("POST", JOBS + "/{job}/heartbeat", WORK),
    ("POST", "/api/scrape-jobs/next"): Call(
        "POST", JOBS + "/next", WORK, {"worker_id": "w", "domains": ["no.example"]}
    ),
    ("GET", "/api/scrape-jobs/next"): Call("GET", JOBS + "/next", READ | WORK),
    ("GET", "/api/scrape-jobs/stats"): Call("GET", JOBS + "/stats", READ),
    ("GET", "/metrics"): Call("GET", "/metrics", METRICS),
    ("POST", "/api/webhooks"): Call("POST", HOOKS, MANAGE, HOOK),
    ("GET", "/api/webhooks"): Call("GET", HOOKS, MANAGE),
    ("GET", "/api/webhooks/<id>"): Call("GET", HOOKS + "/{hook}", MANAGE),
    ("PUT", "/api/webhooks/<id>"): Call("PUT", HOOKS + "/{hook}", MANAGE, {"description": "x"}),
    ("DELETE", "/api/webhooks/<id>"): Call("DELETE", HOOKS + "/{hook}", MANAGE),
    ("POST", "/api/webhooks/<id>/rotate-secret"): Call(
        "POST", HOOKS + "/{hook}/rotate-secret", MANAGE
    ),
    ("POST", "/api/webhooks/<id>/test"): Call("POST", HOOKS + "/{hook}/test", MANAGE),
    ("GET", "/api/webhooks/<id>/deliveries"): Call("GET", HOOKS + "/{hook}/deliveries", MANAGE),
    ("POST", "/api/webhooks/<id>/deliveries/<delivery_id>/redeliver"): Call(
        "POST", HOOKS + "/{hook}/deliveries/" + NO_ID + "/redeliver", MANAGE
    ),
    ("POST", "/api/webhooks/<id>/replay"): Call(
        "POST",
        HOOKS + "/{hook}/replay",
        MANAGE,
        {"from": "2024-01-01T00:00:00Z", "to": "2024-01-02T00:00:00Z"},
    ),
    ("POST", "/api/webhooks/<id>/redeliver"): Call(
        "POST", HOOKS + "/{hook}/redeliver", MANAGE, {"failed_since": "2024-01-01T00:00:00Z"}
    ),
}
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
OF_ONE = [call for (_, rule), call in CALLS.items() if "<id>" in rule]
"""The calls that are about one job or webhook."""


class House:
    """An application whose doors are locked, and keys to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: Flask = create_app(Settings(database_url=url, rate_limit=False))
        self.client: FlaskClient = self.app.test_client()
        self.admin = self.key(Scope.ALL)

    def key(
        self, *scopes: Scope, customer: uuid.UUID | None = None, seconds: float | None = None
    ) -> str:
        with self.app.app_context():
            key, _ = service.create("a test's key", scopes, customer, seconds)
        return str(key)

    def call(
        self, call: Call, key: str | None, job: str = NO_ID, hook: str = NO_ID
    ) -> TestResponse:
        headers = {**call.headers, **({} if key is None else {"Authorization": f"Bearer {key}"})}
        path = call.path.format(job=job, hook=hook)
        return self.client.open(path, method=call.method, json=call.json, headers=headers)

    def ask(
        self, method: str, path: str, key: str, json: Any = None, **headers: str
    ) -> TestResponse:
        return self.call(Call(method, path, set(), json, headers), key)

    def make(self, key: str, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer = self.ask("POST", path, key, fields)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.get_json()["data"]
        return made

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows


@pytest.fixture(scope="module")
def house(server_url: str) -> Iterator[House]:
    for url in new_database(server_url):
        migrate(url)
        house = House(url)
        yield house
        with house.app.app_context():
            house.app.extensions["sqlalchemy"].engine.dispose()


def refusal(answer: TestResponse) -> tuple[int, dict[str, Any]]:
    return answer.status_code, answer.get_json()


def not_authenticated(details: str) -> tuple[int, dict[str, Any]]:
    return 401, {"success": False, "error": "Not authenticated", "details": details}


# ------------------------------------------------------------------------------------------------------ every route


def test_every_route_is_in_the_table_and_says_what_it_needs(house: House) -> None:
    routes = {
        (method, rule.rule): house.app.view_functions[rule.endpoint]
        for rule in house.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(routes) == set(CALLS) | OPEN
    for where, view in routes.items():
        declared = _OPERATIONS[view]
        assert set(declared.scopes) == (set() if where in OPEN else CALLS[where].scopes)
        assert declared.is_open == (where in OPEN)


@pytest.mark.parametrize("where", sorted(CALLS), ids=" ".join)
def test_nobody_comes_in_without_a_valid_key(house: House, where: tuple[str, str]) -> None:
    call = CALLS[where]
    answer = house.call(call, None)
    assert refusal(answer) == not_authenticated("Send a key: Authorization: Bearer <key>")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="scrape-jobs"'
    wrong = house.admin[:-1] + ("A" if house.admin[-1] != "A" else "B")
    for key in (
        "x",
        str(secrets.generate()),
        wrong,
        house.admin + "x",
        house.key(Scope.ALL, seconds=-1),
    ):
        assert refusal(house.call(call, key)) == not_authenticated("The key is not valid")


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("where", sorted(CALLS), ids=" ".join)
def test_each_scope_opens_what_it_says_and_nothing_else(
    house: House, where: tuple[str, str], scope: Scope
) -> None:
    call = CALLS[where]
    answer = house.call(call, house.key(scope))
    if scope is Scope.ALL or scope in call.scopes:
        assert answer.status_code not in (401, 403), answer.text
    else:
        needed = " or ".join(_OPERATIONS[view_of(house.app, where)].scopes)
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


@pytest.mark.parametrize("call", OF_ONE, ids=lambda call: f"{call.method} {call.path}")
def test_what_is_somebody_else_s_does_not_exist(house: House, call: Call) -> None:
    foreign = house.key(*(set(Scope) - {Scope.ALL, Scope.METRICS_READ}), customer=OTHER)
    job = house.make(house.admin, JOBS, {"domain": "example.com", "customer_config_id": str(ONE)})[
        "id"
    ]
    own = house.key(Scope.WEBHOOKS_MANAGE, customer=ONE)
    hook = house.make(own, HOOKS, HOOK)["id"]
    call = Call(
        call.method, call.path, call.scopes, call.json, {**call.headers, "X-Lease-Token": "t"}
    )
    theirs, nobodys = house.call(call, foreign, job, hook), house.call(call, foreign)
    assert (theirs.status_code, theirs.data) == (nobodys.status_code, nobodys.data)
    assert theirs.status_code == 404
    assert house.ask("GET", f"{JOBS}/{job}", house.admin).get_json()["data"]["stats"] == {}


def test_health_needs_no_key_and_no_route_is_none_for_everybody(house: House) -> None:
    assert (
        house.client.get("/healthz").status_code == house.client.get("/readyz").status_code == 200
    )
    assert house.client.get("/api/nothing").status_code == 404


def test_a_worker_s_key_reports_on_what_it_holds_alone(house: House) -> None:
    job = house.make(house.admin, JOBS, {"domain": "worked.example"})
    worker = house.key(Scope.QUEUE_WORK)
    ask = {"worker_id": "w", "domains": ["worked.example"]}
    (taken,) = house.ask("POST", f"{JOBS}/next", worker, ask).get_json()["data"]
    url, stats = f"{JOBS}/{job['id']}", {"stats": {"a": 1}}
    assert house.ask("PUT", url, worker, stats).status_code == 403
    assert house.ask("PUT", url, worker, stats, **{"X-Lease-Token": "wrong"}).status_code == 409
    assert (
        house.ask("PUT", url, worker, stats, **{"X-Lease-Token": taken["lease_token"]}).status_code
        == 200
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_to_cancel_by_an_update_needs_what_a_cancellation_needs(house: House, method: str) -> None:
    job = house.make(house.admin, JOBS, {"domain": "example.com"})["id"]
    headers = MERGE if method == "PATCH" else {}
    cancel = Call(method, f"{JOBS}/{job}", WRITE, {"status": "cancelled"}, headers)
    refused = house.call(cancel, house.key(Scope.JOBS_WRITE))
    assert refusal(refused)[1]["details"] == "This needs the scope jobs:cancel"
    assert refused.status_code == 403
    assert house.ask("GET", f"{JOBS}/{job}", house.admin).get_json()["data"]["status"] == "pending"
    assert house.call(cancel, house.key(Scope.JOBS_WRITE, Scope.JOBS_CANCEL)).status_code == 200


def test_every_refused_attempt_is_in_the_log_with_who_and_what(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    job = house.make(house.admin, JOBS, {"domain": "example.com"})["id"]
    hook = house.make(house.admin, HOOKS, HOOK)["id"]
    reader, foreign = (
        house.key(Scope.JOBS_READ),
        house.key(Scope.JOBS_READ, Scope.WEBHOOKS_MANAGE, customer=ONE),
    )
    over = house.key(Scope.ALL, seconds=-1)
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
            house.ask(method, path, key).headers["X-Request-ID"]
            for key, method, path, _, _ in attempts
        ]
    logged = [vars(record) for record in caplog.records if record.msg == "refused"]
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


# ---------------------------------------------------------------------------------------------------------- customers


def test_a_customer_s_key_makes_and_sees_that_customer_s_alone(house: House) -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    scopes = set(Scope) - {Scope.ALL, Scope.METRICS_READ}
    key = house.key(*scopes, customer=one)
    mine = house.make(key, JOBS, {"domain": "mine.example"})
    assert mine["customer_config_id"] == str(one)
    house.make(
        house.admin,
        JOBS,
        {"domain": "mine.example", "customer_config_id": str(other), "priority": 10},
    )
    house.make(house.admin, JOBS, {"domain": "mine.example", "priority": 10})
    for path in (
        JOBS,
        f"{JOBS}?domain=mine.example",
        f"{JOBS}?sort=priority",
        f"{JOBS}/next?limit=9",
    ):
        assert [job["id"] for job in house.ask("GET", path, key).get_json()["data"]] == [mine["id"]]
    assert house.ask("GET", f"{JOBS}?customer_config_id={other}", key).get_json()["data"] == []
    assert house.ask("GET", f"{JOBS}/stats", key).get_json()["data"]["total"] == 1
    assert (
        house.ask("GET", f"{JOBS}/stats?customer_config_id={other}", key).get_json()["data"][
            "total"
        ]
        == 0
    )
    groups = house.ask("GET", f"{JOBS}/stats?group_by=domain", key).get_json()["data"]["groups"]
    assert [(group["key"], group["total"]) for group in groups] == [("mine.example", 1)]
    assert house.ask("GET", f"{JOBS}/{mine['id']}/queue", key).get_json()["data"]["position"] == 1
    taken = house.ask("POST", f"{JOBS}/next", key, {"worker_id": "w", "limit": 9}).get_json()[
        "data"
    ]
    assert [job["id"] for job in taken] == [mine["id"]]


@pytest.mark.parametrize("batch", [False, True])
def test_a_customer_s_key_makes_nothing_for_others(house: House, batch: bool) -> None:
    key = house.key(Scope.JOBS_WRITE, customer=ONE)
    job: Any = {"domain": "example.com", "customer_config_id": str(OTHER)}
    answer = house.ask("POST", JOBS, key, [{"domain": "example.com"}, job] if batch else job)
    place = "[1]." if batch else ""
    error = (
        f"Invalid {place}customer_config_id: must be the one that the key is bound to, or absent"
    )
    assert refusal(answer) == (400, {"success": False, "error": error})
    named = house.make(key, JOBS, {"domain": "example.com", "customer_config_id": str(ONE)})
    assert named["customer_config_id"] == str(ONE)


def test_a_customer_s_webhooks_are_told_of_that_customer_s_jobs_alone(house: House) -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    key = house.key(Scope.WEBHOOKS_MANAGE, customer=one)
    hook = house.make(key, HOOKS, HOOK)
    everybodys = house.make(house.admin, HOOKS, HOOK)
    assert (hook["customer_config_id"], everybodys["customer_config_id"]) == (str(one), None)
    assert [found["id"] for found in house.ask("GET", HOOKS, key).get_json()["data"]] == [
        hook["id"]
    ]
    owners = {}
    for owner in (one, other, None):
        fields = {"domain": "told.example", "customer_config_id": owner and str(owner)}
        job = house.make(house.admin, JOBS, fields)
        owners[job["id"]] = owner
        house.ask("PUT", f"{JOBS}/{job['id']}", house.admin, {"status": "running"})
    from app.webhooks.fan_out import FanOut

    with house.app.app_context():
        FanOut().step()
    told = house.rows(
        "SELECT endpoint_id::text, job_id::text FROM webhook_deliveries WHERE job_id = ANY(%s::uuid[])",
        list(owners),
    )
    assert {owners[job] for endpoint, job in told if endpoint == hook["id"]} == {one}
    assert {owners[job] for endpoint, job in told if endpoint == everybodys["id"]} == {
        one,
        other,
        None,
    }


# --------------------------------------------------------------------------------------------------------------- keys


def flask(house: House, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flask", "--app", "wsgi", *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(DATABASE_URL=house.url),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_key_is_made_printed_once_listed_and_taken_back(house: House) -> None:
    made = flask(
        house,
        "keys",
        "create",
        "ops",
        "--scope",
        "jobs:read",
        "--scope",
        "jobs:write",
        "--expires",
        "90d",
    )
    key = made.stdout.strip()
    assert re.fullmatch(r"sjk_[0-9a-z]{12}_[A-Za-z0-9_-]{43}", key)
    assert made.stdout == f"{key}\n"
    assert house.ask("GET", JOBS, key).status_code == 200
    digests = house.rows("SELECT digest FROM api_keys WHERE id = %s", key.split("_")[1])
    assert key.split("_", 2)[2].encode() not in bytes(digests[0][0])
    listed = flask(house, "keys", "list").stdout
    assert key.split("_")[1] in listed
    assert key not in listed
    assert flask(house, "keys", "revoke", key.split("_")[1]).returncode == 0
    deadline = time.monotonic() + 5
    while house.ask("GET", JOBS, key).status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    again = flask(house, "keys", "revoke", key)
    assert (again.returncode, again.stderr) == (
        1,
        "Error: There is no such key that is valid; flask keys list shows all\n",
    )


def test_a_key_that_is_taken_back_while_it_is_rotated_has_no_successor(house: House) -> None:
    old = house.key(Scope.JOBS_READ)
    number = house.rows("SELECT count(*) FROM api_keys")[0][0]
    with closing(psycopg2.connect(house.url)) as rival, rival.cursor() as cursor:
        cursor.execute("UPDATE api_keys SET revoked_at = now() WHERE id = %s", [old.split("_")[1]])
        with ThreadPoolExecutor(1) as pool:
            rotation = pool.submit(flask, house, "keys", "rotate", old)
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
            wait_until(lambda: house.rows(waiting), 20)
            rival.commit()
            assert (
                rotation.result().stderr
                == "Error: There is no such key that is valid; flask keys list shows all\n"
            )
    assert house.rows("SELECT count(*) FROM api_keys") == [(number,)]


def test_what_a_key_was_made_for_is_not_shortened_by_rotations(house: House) -> None:
    first = house.key(Scope.JOBS_READ)
    for _ in range(2):  # the second time within the grace of the first
        made = flask(house, "keys", "rotate", first, "--grace", "1h").stdout.strip()
        assert house.rows(
            "SELECT expires_at, revoked_at FROM api_keys WHERE id = %s", made.split("_")[1]
        ) == [(None, None)]
    assert "valid until" in flask(house, "keys", "list").stdout


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_key_that_ended_is_refused_within_5_seconds_in_every_process(
    house: House, end: str
) -> None:
    with Service(house.url, SCRAPE_JOBS_AUTH="keys", WEB_CONCURRENCY="3", THREADS="2") as running:
        key = house.key(Scope.JOBS_READ, seconds=3 if end == "expired" else None)
        ended = time.monotonic() + (3 if end == "expired" else 0)

        def statuses() -> set[int]:
            """Ask on many connections at once, so that every process is asked."""
            header = {"Authorization": f"Bearer {key}"}
            with ThreadPoolExecutor(12) as pool:
                asked = [
                    pool.submit(requests.get, running.jobs, headers=header, timeout=10)
                    for _ in range(36)
                ]
                return {one.result().status_code for one in asked}

        assert statuses() == {200}
        if end == "revoked":
            assert flask(house, "keys", "revoke", key).returncode == 0
            ended = time.monotonic()
        wait_until(lambda: statuses() == {401}, ended + 5 - time.monotonic())


def test_a_key_that_ends_while_its_request_waits_for_work_gets_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CACHE_SECONDS", 0.1)
    worker, domain = house.key(Scope.QUEUE_WORK), f"d{uuid.uuid4().hex}.example"
    body = {"worker_id": "w", "domains": [domain], "wait_seconds": 15}
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(house.ask, "POST", f"{JOBS}/next", worker, body)
        time.sleep(0.3)
        assert flask(house, "keys", "revoke", worker).returncode == 0
        assert refusal(claim.result(timeout=5)) == not_authenticated("The key is not valid")
    job = house.make(house.admin, JOBS, {"domain": domain})
    assert (
        house.ask("GET", f"{JOBS}/{job['id']}", house.admin).get_json()["data"]["status"]
        == "pending"
    )


def test_a_key_is_rotated_and_the_old_one_stays_valid_for_a_while(house: House) -> None:
    old = house.key(Scope.JOBS_READ, customer=ONE)
    new = flask(house, "keys", "rotate", old, "--grace", "1h").stdout.strip()
    assert new != old
    assert [house.ask("GET", JOBS, key).status_code for key in (old, new)] == [200, 200]
    house.rows(
        "UPDATE api_keys SET expires_at = now() WHERE id = %s RETURNING id", old.split("_")[1]
    )
    time.sleep(service.CACHE_SECONDS + 0.2)
    assert [house.ask("GET", JOBS, key).status_code for key in (old, new)] == [401, 200]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nobody"], "Invalid scope: must be one or more of jobs:read"),
        (["\u200b", "--scope", "all"], "Invalid name: must be 1 to 100 visible characters"),
        (["x", "--scope", "everything"], "'everything' is not one of"),
        (
            ["x", "--scope", "all", "--customer", str(ONE)],
            "a key bound to a customer must have neither",
        ),
        (["x", "--scope", "all", "--customer", "7"], "'7' is not a valid UUID"),
        (["x", "--scope", "all", "--expires", "soon"], "'soon' is no length of time such as 90d"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    house: House, words: list[str], complaint: str
) -> None:
    done = flask(house, "keys", "create", *words)
    assert done.returncode != 0
    assert complaint in done.stderr
    assert done.stdout == ""


def test_a_key_s_name_forges_no_line_of_the_list(house: House) -> None:
    made = flask(
        house, "keys", "create", "evil\nabcdefghijkl\t root\u00a0 all", "--scope", "jobs:read"
    ).stdout.strip()
    (line,) = [line for line in flask(house, "keys", "list").stdout.splitlines() if "evil" in line]
    assert line.startswith(f"{made.split('_')[1]}  evil abcdefghijkl root all  jobs:read")


@pytest.mark.parametrize("words", [["revoke"], ["rotate"]], ids=" ".join)
@pytest.mark.parametrize("id", ["abcdefghijkl", "nothing", "", "\udcff"], ids=ascii)
def test_what_is_no_key_is_said_to_be_none(house: House, words: list[str], id: str) -> None:
    done = flask(house, "keys", *words, id)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: There is no such key that is valid; flask keys list shows all\n"


def test_when_a_key_was_last_used_is_noted(house: House) -> None:
    key = house.key(Scope.JOBS_READ)
    house.ask("GET", JOBS, key)
    noting = house.app.extensions["note_of_use"]
    noting.start()
    seen = "SELECT last_used_at > now() - interval '1 min' FROM api_keys WHERE id = %s"
    wait_until(lambda: house.rows(seen, key.split("_")[1]) == [(True,)])
    noting.stop()


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("fe80::1%<b>password=hunter2", "fe80::1"),
        ("<b>password=hunter2", None),
    ],
)
def test_of_what_a_proxy_says_an_address_is_kept_and_nothing_else(
    house: House, told: str, kept: str | None
) -> None:
    app = create_app(
        Settings(database_url=house.url, auth="off", rate_limit=False, trusted_proxies=1)
    )
    answer = app.test_client().post(
        JOBS, json={"domain": "example.com"}, headers={"X-Forwarded-For": told}
    )
    job = answer.get_json()["data"]["id"]
    assert house.rows("SELECT address FROM job_events WHERE job_id = %s", job) == [(kept,)]
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def test_the_history_names_the_key(house: House) -> None:
    key = house.key(Scope.JOBS_WRITE, Scope.JOBS_READ)
    job = house.make(key, JOBS, {"domain": "example.com"})
    (event,) = house.ask("GET", f"{JOBS}/{job['id']}/history", key).get_json()["data"]
    assert event["actor"] == {"type": "key", "id": key.split("_")[1], "name": "a test's key"}
    assert house.rows("SELECT address FROM job_events WHERE job_id = %s", job["id"]) == [
        ("127.0.0.1",)
    ]


def test_two_keys_equal_idempotency_keys_are_two(house: House) -> None:
    first, second = (house.key(Scope.JOBS_WRITE) for _ in range(2))
    header = {"Idempotency-Key": uuid.uuid4().hex}
    ids = {
        house.ask("POST", JOBS, key, {"domain": "e.example"}, **header).get_json()["data"]["id"]
        for key in (first, second)
    }
    assert len(ids) == 2
