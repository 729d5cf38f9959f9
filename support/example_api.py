"""An application in the state that the examples of the OpenAPI document show."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.database.tenant_scope import tenant_scope
from app.events.provenance import SYSTEM, Provenance
from app.factory import create_app
from app.jobs import answers as jobs
from app.jobs import service
from app.jobs.schemas import CREATE, JOB_ID
from app.vault import Vault
from app.webhooks import answers as webhooks
from app.webhooks import service as webhook_service
from app.webhooks.schemas import DELIVERY_ID, NEW_ENDPOINT, WEBHOOK_ID
from app.webhooks.targets import TargetPolicy
from support.openapi import Call

CUSTOMER = uuid.UUID(jobs.JobAnswer.example["customer_config_id"])
CUSTOMER_SCOPES = set(Scope) - {Scope.ALL, Scope.METRICS_READ}

_TABLES = (
    "scrape_jobs, job_events, outbox, uncounted_events, webhook_deliveries, webhook_endpoints,"
    " idempotency_keys, job_totals"
)


class ExampleApi:
    """An application with API keys, whose database has only what an example needs."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.url = url
        # With a single thread no request waits for work.
        settings = {"threads": 1, "webhook_allow": ("example.com",), **settings}
        self.app: Flask = create_app(Settings(database_url=url, **settings))
        self.client: FlaskClient = self.app.test_client()
        self.key = self.make_key(*CUSTOMER_SCOPES, customer=CUSTOMER)
        self.key_id = self.key.split("_")[1]
        self.metrics_key = self.make_key(Scope.METRICS_READ)

    def make_key(self, *scopes: Scope, customer: uuid.UUID | None = None) -> str:
        with self.app.app_context():
            return str(keys.create("crawler", sorted(scopes), customer, None)[0])

    def send(self, call: Call, key: str | None = "") -> TestResponse:
        """Send a request with `key`; by default with the customer's, for metrics with theirs."""
        if key == "":
            key = self.metrics_key if call.path == "/metrics" else self.key
        if key is not None:
            call.headers["Authorization"] = f"Bearer {key}"
        return call.send(self.client)

    def ask(self, method: str, path: str, body: Any, **headers: str) -> Any:
        """Send a request that must succeed, and return its data."""
        given = {"X-Request-ID": "crawl-4711", **headers}
        answer = self.send(
            Call(method, path, {}, given, "application/json", json.dumps(body).encode())
        )
        assert answer.status_code < 300, answer.text
        return answer.get_json()["data"]

    def sql(self, text: str, *values: object) -> None:
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.execute(text, values)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A transaction of another program."""
        connection = psycopg2.connect(self.url)
        with connection:
            yield connection
        connection.close()

    def clear(self) -> None:
        """Delete everything but the API keys."""
        self.sql(f"TRUNCATE {_TABLES}")

    def job(self, status: str = "running", **fields: Any) -> None:
        """Make the job of the examples, with this status."""
        example = jobs.JobAnswer.example
        names = ("domain", "domain_id", "priority", "config", "metadata", "customer_config_id")
        job = CREATE.parse({name: example[name] for name in names})
        with self.app.app_context(), tenant_scope(CUSTOMER):
            service.create([{**job, "id": JOB_ID}], Provenance(SYSTEM, None, None))
        if status == "pending":
            return
        running = {name: example[name] for name in ("started_at", "stats", "retry_count")}
        self.update(status="running", **{**running, **fields})
        if status != "running":
            self.update(status=status)

    def update(self, **fields: Any) -> None:
        self.ask("PUT", f"/api/scrape-jobs/{JOB_ID}", fields)

    def claim(self) -> str:
        """Make the job of the examples, claim it, and return its lease token."""
        self.job("pending")
        claimed = self.ask("POST", "/api/scrape-jobs/next", {"worker_id": "worker-1"})
        token: str = claimed[0]["lease_token"]
        example = jobs.JobAnswer.example
        self.ask(
            "PUT",
            f"/api/scrape-jobs/{JOB_ID}",
            {"stats": example["stats"], "retry_count": example["retry_count"]},
            **{"X-Lease-Token": token},
        )
        return token

    def webhook(self, **fields: Any) -> None:
        """Make the webhook endpoint of the examples."""
        hook = NEW_ENDPOINT.parse({**webhooks.NEW_ENDPOINT, **fields})
        policy = TargetPolicy.parse(("example.com",))
        with self.app.app_context(), tenant_scope(CUSTOMER):
            webhook_service.create(uuid.UUID(WEBHOOK_ID), hook, policy, Vault(()), 1000)

    def delivery(self, **fields: Any) -> None:
        """Make the webhook endpoint of the examples, with their delivery."""
        self.webhook(**fields)
        example = webhooks.DeliveryAnswer.example
        self.sql(
            "INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, status, failures,"
            " tries, next_try_at, created_at, finished_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, 7, %s, now(), %s, %s)",
            JOB_ID,
            example["event_id"],
            WEBHOOK_ID,
            DELIVERY_ID,
            json.dumps(example["body"]),
            example["status"],
            json.dumps(example["tries"]),
            example["created_at"],
            example["finished_at"],
        )
