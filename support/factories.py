"""Creates jobs through the API, and brings them to a status by the transitions that lead there."""

import uuid
from typing import Any

from flask.testing import FlaskClient

PATHS = {
    "pending": (),
    "running": ("running",),
    "completed": ("running", "completed"),
    "failed": ("running", "failed"),
    "cancelled": ("cancelled",),
}


def new_domain() -> str:
    """Return a host name that no other test uses, so that a list can show one test's jobs only."""
    return f"d{uuid.uuid4().hex[:16]}.example"


def make_job(client: FlaskClient, status: str = "pending", **fields: Any) -> dict[str, Any]:
    """Create a job with `fields`, bring it to `status` and return it."""
    answer = client.post("/api/scrape-jobs", json={"domain": new_domain(), **fields})
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.get_json()["data"]
    for step in PATHS[status]:
        answer = client.put(f"/api/scrape-jobs/{job['id']}", json={"status": step})
        assert answer.status_code == 200, answer.text
        job = answer.get_json()["data"]
    return job


def read_history(client: FlaskClient, job_id: str) -> list[dict[str, Any]]:
    """Return the first 200 events of the job's history."""
    answer = client.get(f"/api/scrape-jobs/{job_id}/history?limit=200")
    assert answer.status_code == 200, answer.text
    events: list[dict[str, Any]] = answer.get_json()["data"]
    return events


def read_all(client: FlaskClient, job_id: str) -> tuple[Any, str | None, list[dict[str, Any]]]:
    """Return all that an update can change: the job, its ETag and its history."""
    answer = client.get(f"/api/scrape-jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return answer.get_json()["data"], answer.headers["ETag"], read_history(client, job_id)
