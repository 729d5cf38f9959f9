"""A service that two customers share, and clients with their keys."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import psycopg2.errors
from flask import Flask
from werkzeug.test import TestResponse

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from app.statistics import service as statistics_service

JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"


NIL, NOWHERE = str(uuid.UUID(int=0)), "0190f3a0-0000-7000-8000-000000000000"


HOOK = {"url": "http://93.184.216.34/hook"}


SINCE = {"failed_since": "2020-01-01T00:00:00Z"}


MERGE = "application/merge-patch+json"


CUSTOMER_SCOPES = sorted(set(Scope) - {Scope.ALL, Scope.METRICS_READ})


def settings(url: str, **more: Any) -> Settings:
    return Settings(**{"database_url": url, "rate_limit": False, "threads": 8, **more})


def dispose(app: Flask) -> None:
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def make_key(app: Flask, customer: str | None) -> str:
    with app.app_context():
        scopes = [Scope.ALL] if customer is None else CUSTOMER_SCOPES
        return str(
            keys.create("a test's key", scopes, uuid.UUID(customer) if customer else None, None)[0]
        )


@dataclass(frozen=True)
class KeyHolder:
    """A client with a key to an application."""

    app: Flask
    key: str

    def ask(self, method: str, path: str, json: Any = None, **headers: str) -> TestResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Authorization"] = f"Bearer {self.key}"
        return self.app.test_client().open(path, method=method, json=json, headers=sent)

    def data(self, method: str, path: str, json: Any = None, **named: str) -> Any:
        answer = self.ask(method, path, json, **named)
        assert answer.status_code < 300, answer.text
        return answer.get_json()["data"]

    def create(self, **fields: Any) -> dict[str, Any]:
        job: dict[str, Any] = self.data("POST", JOBS, {"domain": "shared.example", **fields})
        return job

    def failed(self, **fields: Any) -> dict[str, Any]:
        """Create a job and bring it to the status failed."""
        job = self.create(**fields)
        for status in ("running", "failed"):
            job = self.data(
                "PUT", f"{JOBS}/{job['id']}", {"status": status, "error_message": "It broke"}
            )
        return job


class SharedService:
    """An application with authentication by keys, and clients of two customers, A and B."""

    def __init__(self, url: str, **more: Any) -> None:
        self.url = url
        self.app = create_app(settings(url, **more))
        self.a_id, self.b_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.admin, self.a, self.b = (self.holder(owner) for owner in (None, self.a_id, self.b_id))

    def holder(self, customer: str | None) -> KeyHolder:
        return KeyHolder(self.app, make_key(self.app, customer))

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        return sql(self.url, text, *values)


def sql(url: str, text: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(text, values or None)
        return cursor.fetchall() if cursor.description else []


def keep_rows_still(url: str) -> None:
    """Turn autovacuum off, so that only the service changes rows."""
    for table in TABLES:
        sql(url, f"ALTER TABLE {table} SET (autovacuum_enabled = off)")


@contextmanager
def shared_service(url: str, **more: Any) -> Iterator[SharedService]:
    tenants = SharedService(url, **more)
    try:
        yield tenants
    finally:
        dispose(tenants.app)


TABLES = (
    "scrape_jobs", "job_events", "outbox", "uncounted_events", "webhook_endpoints",
    "webhook_deliveries",
    "idempotency_keys", "job_totals", "job_duration_totals", "job_error_totals",
)  # fmt: skip


@dataclass(frozen=True)
class ObjectCall:
    """A request about one object; `token` is "needed" if it always carries a lease token."""

    method: str
    path: str = ""
    json: Any = None
    token: str = "any"
    headers: Mapping[str, str] = field(default_factory=dict)


JOB_CALLS = (
    ObjectCall("GET"), ObjectCall("HEAD"), ObjectCall("GET", "/history"), ObjectCall("GET",
    "/history?limit=1"), ObjectCall("GET", "/queue"),
    ObjectCall("PUT", json={"status": "running"}), ObjectCall("PUT", json={"stats": {"a": 1}}),
    ObjectCall("PUT", json={"status": "completed", "stats": {"a": "x" * 300_000}}),
    ObjectCall("PATCH", json={"metadata": {"a": None}}, headers={"Content_Type": MERGE}),
    ObjectCall("DELETE"), ObjectCall("DELETE", "?reason=mine"), ObjectCall("POST", "/retry", {}),
    ObjectCall("POST", "/retry", {"error_message": "x"}, token="needed"),
    ObjectCall("POST", "/release", {}, token="needed"), ObjectCall("POST", "/heartbeat", {},
    token="needed"),
)  # fmt: skip


HOOK_CALLS = (
    ObjectCall("GET"), ObjectCall("PUT", json={"description": "mine"}), ObjectCall("PUT",
    json={"active": False}), ObjectCall("DELETE"),
    ObjectCall("POST", "/rotate-secret"), ObjectCall("POST", "/test"), ObjectCall("GET",
    "/deliveries"),
    ObjectCall("GET", "/deliveries?status=failed&limit=1"), ObjectCall("POST", "/redeliver", SINCE),
    ObjectCall("POST", "/replay", {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}),
)  # fmt: skip


def count(app: Flask) -> None:
    with app.app_context():
        statistics_service.count()


@contextmanager
def locks_held(url: str, *statements: str) -> Iterator[None]:
    """Hold the locks of `statements` in an open transaction."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield
        connection.rollback()
