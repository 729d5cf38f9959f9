"""Jobs that clients send back."""

import json
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.factories import make_job
from support.job_changes import (
    T1,
    update_job,
)

CUSTOMER = "0190f3a0-0000-7000-8000-00000000000a"


def url(job: dict[str, Any]) -> str:
    """Return the path of the job."""
    return f"/api/scrape-jobs/{job['id']}"


def send(
    client: FlaskClient,
    job: dict[str, Any],
    body: dict[str, Any],
    method: str = "PUT",
    **headers: str | None,
) -> TestResponse:
    """Send an update of the job without the headers that are None."""
    media_type = "application/json" if method == "PUT" else "application/merge-patch+json"
    given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    return client.open(
        url(job),
        method=method,
        data=json.dumps(body),
        headers={"Content-Type": media_type, **given},
    )


def take(client: FlaskClient, **fields: Any) -> tuple[dict[str, Any], str]:
    """Return a claimed job and its lease token."""
    job = make_job(client, **fields)
    body = {"worker_id": "w1", "domains": [job["domain"]]}
    (taken,) = client.post("/api/scrape-jobs/next", json=body).get_json()["data"]
    token = taken.pop("lease_token")
    return taken, token


def job_with_everything(
    client: FlaskClient, status: str, *, leased: bool
) -> tuple[dict[str, Any], str | None]:
    """Return a job in `status` with values in all possible fields, and its lease token."""
    fields: dict[str, Any] = {
        "customer_config_id": CUSTOMER,
        "priority": 7,
        "config": {"depth": 3, "maxConcurrent": 2},
    }
    token = None
    if leased:
        job, token = take(client, **fields, metadata={"tags": ["a"]})
    else:
        job = make_job(
            client, **fields, metadata={"tags": ["a"]}, scheduled_for="2099-01-01T00:00:00.123456Z"
        )
    given = {
        "error_message": "Request timeout",
        "stats": {"pages": 1.5, "deep": {"a": [1, {}]}},
        "retry_count": 1,
    }
    job = update_job(client, job, **given)
    for step in {"pending": (), "running": ("running",), "cancelled": ("cancelled",)}.get(
        status, ("running", status)
    ):
        job = update_job(client, job, status=step)
    return update_job(client, job, started_at=None if status == "pending" else T1), token
