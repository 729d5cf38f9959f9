"""An application with authentication by keys, and one call for each of its routes."""

import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.api_keys import service
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from support.service import ROOT, environment

JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"


NO_ID = "0190f3a0-0000-7000-8000-000000000000"


CUSTOMER, OTHER_CUSTOMER = uuid.uuid4(), uuid.uuid4()


HOOK = {"url": "http://93.184.216.34/hook"}


READ, WRITE, CANCEL = {Scope.JOBS_READ}, {Scope.JOBS_WRITE}, {Scope.JOBS_CANCEL}


WORK, MANAGE, METRICS = {Scope.QUEUE_WORK}, {Scope.WEBHOOKS_MANAGE}, {Scope.METRICS_READ}


@dataclass
class RouteCall:
    """A request to one route; `scopes` are the scopes that permit it."""

    method: str
    path: str
    scopes: set[Scope]
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


MERGE = {"Content-Type": "application/merge-patch+json"}


ROUTE_CALLS: Mapping[tuple[str, str], RouteCall] = {
    ("GET", "/api/scrape-jobs"): RouteCall("GET", JOBS, READ),
    ("POST", "/api/scrape-jobs"): RouteCall("POST", JOBS, WRITE, {"domain": "example.com"}),
    ("GET", "/api/scrape-jobs/events"): RouteCall("GET", JOBS + "/events", READ),
    ("GET", "/api/scrape-jobs/<id>/events"): RouteCall("GET", JOBS + "/{job}/events", READ),
    ("POST", "/api/scrape-jobs/cancel"): RouteCall(
        "POST", JOBS + "/cancel", CANCEL, {"ids": [NO_ID]}
    ),
    ("POST", "/api/scrape-jobs/retry"): RouteCall("POST", JOBS + "/retry", WRITE, {"ids": [NO_ID]}),
    ("GET", "/api/scrape-jobs/<id>"): RouteCall("GET", JOBS + "/{job}", READ),
    ("PUT", "/api/scrape-jobs/<id>"): RouteCall("PUT", JOBS + "/{job}", WRITE, {"stats": {"a": 1}}),
    ("PATCH", "/api/scrape-jobs/<id>"): RouteCall(
        "PATCH", JOBS + "/{job}", WRITE, {"stats": {"a": 1}}, MERGE
    ),
    ("DELETE", "/api/scrape-jobs/<id>"): RouteCall("DELETE", JOBS + "/{job}", CANCEL),
    ("GET", "/api/scrape-jobs/<id>/history"): RouteCall("GET", JOBS + "/{job}/history", READ),
    ("GET", "/api/scrape-jobs/<id>/deliveries"): RouteCall(
        "GET", JOBS + "/{job}/deliveries", MANAGE
    ),
    ("GET", "/api/scrape-jobs/<id>/queue"): RouteCall("GET", JOBS + "/{job}/queue", READ),
    ("POST", "/api/scrape-jobs/<id>/retry"): RouteCall("POST", JOBS + "/{job}/retry", WRITE),
    ("POST", "/api/scrape-jobs/<id>/release"): RouteCall("POST", JOBS + "/{job}/release", WORK),
    ("POST", "/api/scrape-jobs/<id>/heartbeat"): RouteCall("POST", JOBS + "/{job}/heartbeat", WORK),
    ("POST", "/api/scrape-jobs/next"): RouteCall(
        "POST", JOBS + "/next", WORK, {"worker_id": "w", "domains": ["no.example"]}
    ),
    ("GET", "/api/scrape-jobs/next"): RouteCall("GET", JOBS + "/next", READ | WORK),
    ("GET", "/api/scrape-jobs/stats"): RouteCall("GET", JOBS + "/stats", READ),
    ("GET", "/metrics"): RouteCall("GET", "/metrics", METRICS),
    ("POST", "/api/webhooks"): RouteCall("POST", HOOKS, MANAGE, HOOK),
    ("GET", "/api/webhooks"): RouteCall("GET", HOOKS, MANAGE),
    ("GET", "/api/webhooks/<id>"): RouteCall("GET", HOOKS + "/{hook}", MANAGE),
    ("PUT", "/api/webhooks/<id>"): RouteCall(
        "PUT", HOOKS + "/{hook}", MANAGE, {"description": "x"}
    ),
    ("DELETE", "/api/webhooks/<id>"): RouteCall("DELETE", HOOKS + "/{hook}", MANAGE),
    ("POST", "/api/webhooks/<id>/rotate-secret"): RouteCall(
        "POST", HOOKS + "/{hook}/rotate-secret", MANAGE
    ),
    ("POST", "/api/webhooks/<id>/test"): RouteCall("POST", HOOKS + "/{hook}/test", MANAGE),
    ("GET", "/api/webhooks/<id>/deliveries"): RouteCall(
        "GET", HOOKS + "/{hook}/deliveries", MANAGE
    ),
    ("POST", "/api/webhooks/<id>/deliveries/<delivery_id>/redeliver"): RouteCall(
        "POST", HOOKS + "/{hook}/deliveries/" + NO_ID + "/redeliver", MANAGE
    ),
    ("POST", "/api/webhooks/<id>/replay"): RouteCall(
        "POST",
        HOOKS + "/{hook}/replay",
        MANAGE,
        {"from": "2024-01-01T00:00:00Z", "to": "2024-01-02T00:00:00Z"},
    ),
    ("POST", "/api/webhooks/<id>/redeliver"): RouteCall(
        "POST", HOOKS + "/{hook}/redeliver", MANAGE, {"failed_since": "2024-01-01T00:00:00Z"}
    ),
}


OPEN_ROUTES = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/docs"),
    ("GET", "/api/docs/<name>"),
}
"""The routes that need no API key."""


OBJECT_CALLS = [call for (_, rule), call in ROUTE_CALLS.items() if "<id>" in rule]
"""The calls on one job or webhook."""


class KeyedApi:
    """An application with authentication by keys, and keys for it."""

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
        self, call: RouteCall, key: str | None, job: str = NO_ID, hook: str = NO_ID
    ) -> TestResponse:
        headers = {**call.headers, **({} if key is None else {"Authorization": f"Bearer {key}"})}
        path = call.path.format(job=job, hook=hook)
        answer = self.client.open(path, method=call.method, json=call.json, headers=headers)
        if answer.mimetype == "text/event-stream":
            answer.close()  # its body has no end
        return answer

    def ask(
        self, method: str, path: str, key: str, json: Any = None, **headers: str
    ) -> TestResponse:
        return self.call(RouteCall(method, path, set(), json, headers), key)

    def make(self, key: str, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer = self.ask("POST", path, key, fields)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.get_json()["data"]
        return made

    def command(self, *words: str) -> Result:
        """Run `flask …` in this process."""
        return self.app.test_cli_runner().invoke(args=words)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows


def refusal(answer: TestResponse) -> tuple[int, dict[str, Any]]:
    return answer.status_code, answer.get_json()


def not_authenticated(details: str) -> tuple[int, dict[str, Any]]:
    return 401, {"success": False, "error": "Not authenticated", "details": details}


def run_flask(api: KeyedApi, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `flask …` in a process of its own."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(DATABASE_URL=api.url),
        capture_output=True,
        text=True,
        check=False,
    )
