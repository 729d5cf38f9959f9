"""Requests of workers: claims, requests with a lease token, and reads of the queue."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.config import Settings
from app.factory import create_app
from support.factories import make_job, read_history
from support.service import own_work

JOBS = "/api/scrape-jobs"
NO_JOB = "0190f3a0-0000-7000-8000-000000000000"
MERGE_PATCH = "application/merge-patch+json"
NO_HEADERS: Mapping[str, str] = {}

Execute = Callable[..., list[tuple[Any, ...]]]
"""Runs SQL with parameters, and returns the rows."""


@dataclass(frozen=True)
class LeasedJob:
    """A job, and requests with its lease token."""

    client: FlaskClient
    job: dict[str, Any]
    token: str

    @property
    def path(self) -> str:
        return f"{JOBS}/{self.job['id']}"

    def put(self, body: dict[str, Any], headers: Mapping[str, str] = NO_HEADERS) -> TestResponse:
        return self.client.put(
            self.path, json=body, headers={"X-Lease-Token": self.token, **headers}
        )

    def patch(self, body: dict[str, Any]) -> TestResponse:
        headers = {"X-Lease-Token": self.token, "Content-Type": MERGE_PATCH}
        return self.client.patch(self.path, data=json.dumps(body), headers=headers)

    def post(
        self,
        action: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> TestResponse:
        headers = {"X-Lease-Token": self.token, **headers}
        return self.client.post(f"{self.path}/{action}", json=body, headers=headers)

    def cancel(self) -> None:
        assert self.client.delete(self.path).status_code == 200

    def show(self) -> dict[str, Any]:
        return get_job(self.client, self.job["id"])

    def acknowledgements(self) -> int:
        """Return how many events record that the worker learned of the cancellation."""
        actions = [action for action, _, _ in list_actions(self.client, self.job["id"])]
        return actions.count("cancel_heard")


@dataclass
class IsolatedQueue:
    """An application whose database holds the jobs of one test only."""

    app: Flask
    client: FlaskClient
    execute: Execute

    def take_outbox(self) -> list[tuple[str, str]]:
        """Return the status changes in the outbox, oldest first, and empty it."""
        changes = self.execute(
            "SELECT e.old_status, e.new_status FROM outbox o"
            " JOIN job_events e USING (job_id, seq) ORDER BY seq"
        )
        self.execute("TRUNCATE outbox")
        return changes

    def position(self, job: dict[str, Any]) -> dict[str, Any]:
        return get_position(self.client, job["id"])


@contextmanager
def application(url: str, **settings: Any) -> Iterator[Flask]:
    """Yield an application on the database; close its connections at the end."""
    app = create_app(Settings(database_url=url, auth="off", rate_limit=False, **settings))
    yield app
    with own_work(app):
        app.extensions["sqlalchemy"].engine.dispose()


def data(answer: TestResponse) -> Any:
    """Return the data of a successful response."""
    assert answer.status_code == 200, answer.text
    return answer.get_json()["data"]


def failure(answer: TestResponse) -> tuple[int, str, str | None]:
    """Return the status, the error and the details of a failure."""
    body = answer.get_json()
    assert set(body) <= {"success", "error", "details"}
    assert body["success"] is False
    return answer.status_code, body["error"], body.get("details")


def claim(client: FlaskClient, domain: str, **fields: Any) -> list[dict[str, Any]]:
    """Claim jobs of a domain."""
    body = {"worker_id": "w1", "domains": [domain], **fields}
    jobs: list[dict[str, Any]] = data(client.post(f"{JOBS}/next", json=body))
    return jobs


def lease_job(client: FlaskClient, lease_seconds: int = 60, **fields: Any) -> LeasedJob:
    """Create a job with `fields`, and claim it."""
    created = make_job(client, **fields)
    (job,) = claim(client, created["domain"], lease_seconds=lease_seconds)
    assert job["id"] == created["id"]
    return LeasedJob(client, job, job["lease_token"])


def claim_new_job(
    client: FlaskClient, lease_seconds: int = 60, **fields: Any
) -> tuple[str, dict[str, str]]:
    """Create a job, claim it, and return its id and the header with its lease token."""
    leased = lease_job(client, lease_seconds, **fields)
    return leased.job["id"], {"X-Lease-Token": leased.token}


def get_job(client: FlaskClient, job_id: str) -> dict[str, Any]:
    """Return the job."""
    job: dict[str, Any] = data(client.get(f"{JOBS}/{job_id}"))
    return job


def get_position(client: FlaskClient, job_id: str) -> dict[str, Any]:
    """Return the position of the job in the queue."""
    position: dict[str, Any] = data(client.get(f"{JOBS}/{job_id}/queue"))
    return position


def list_actions(client: FlaskClient, job_id: str) -> list[tuple[str, str | None, str]]:
    """Return the action, old status and new status of each event of the job."""
    return [
        (event["action"], event["old_status"], event["new_status"])
        for event in read_history(client, job_id)
    ]


def job_ids(jobs: list[dict[str, Any]]) -> list[str]:
    """Return the ids of the jobs."""
    return [job["id"] for job in jobs]


def parse_time(text: str) -> datetime:
    """Return a timestamp of the API."""
    return datetime.fromisoformat(text)
