"""Requests that create, change and list jobs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask.testing import FlaskClient

from support.factories import new_domain

JOBS = API = "/api/scrape-jobs"
SORTS = ["created_at", "-created_at", "priority", "updated_at", "-updated_at"]
NOON = datetime(2020, 6, 1, 12, tzinfo=UTC)
LATER, EARLIER = "2099-01-01T00:00:00.000Z", "2024-01-01T00:00:00.000Z"

Job = dict[str, Any]
Query = dict[str, Any]


def create(client: FlaskClient, **fields: Any) -> Job:
    """Create a job and return it."""
    answer = client.post(JOBS, json={"domain": new_domain(), **fields})
    assert answer.status_code == 201, answer.text
    job: Job = answer.get_json()["data"]
    return job


def put(client: FlaskClient, job: Job, **fields: Any) -> Job:
    """Update a job and return it."""
    answer = client.put(f"{JOBS}/{job['id']}", json=fields)
    assert answer.status_code == 200, answer.text
    changed: Job = answer.get_json()["data"]
    return changed


def listed(client: FlaskClient, domain: str) -> list[Job]:
    """Return the jobs of a domain."""
    query = {"domain": domain, "limit": 200}
    jobs: list[Job] = client.get(JOBS, query_string=query).get_json()["data"]
    return jobs


def taken(client: FlaskClient, domain: str, limit: int = 1) -> list[str]:
    """Claim jobs of a domain and return their ids."""
    body = {"worker_id": "w", "domains": [domain], "limit": limit}
    return [job["id"] for job in client.post(f"{API}/next", json=body).get_json()["data"]]


def history(client: FlaskClient, job: Job, **query: Any) -> list[dict[str, Any]]:
    """Return the events of a job."""
    answer = client.get(f"{JOBS}/{job['id']}/history", query_string={"limit": 200, **query})
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.get_json()["data"]
    return entries


def last(client: FlaskClient, job: Job) -> dict[str, Any]:
    """Return the last event of a job."""
    return history(client, job)[-1]


def get(client: FlaskClient, **query: Any) -> dict[str, Any]:
    """Return a page of the list of jobs."""
    answer = client.get(JOBS, query_string=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def pages(client: FlaskClient, **query: Any) -> Iterator[list[Job]]:
    """Yield the pages of a list from the first to the last."""
    cursor: Query = {}
    while True:
        body = get(client, **query, **cursor)
        yield body["data"]
        pagination = body["pagination"]
        is_resumable = query.get("sort") in ("created_at", "updated_at")
        assert (pagination["next_cursor"] is not None) is (pagination["has_more"] or is_resumable)
        if not pagination["has_more"]:
            return
        cursor = {"cursor": pagination["next_cursor"]}
