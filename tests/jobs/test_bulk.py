"""Cancelling and retrying many jobs in one request."""

import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.factories import PATHS, new_domain

JOBS = "/api/scrape-jobs"


def make(client: FlaskClient, status: str, domain: str, **fields: Any) -> str:
    """Create a job, bring it to a status, and return its id."""
    made = client.post(JOBS, json={"domain": domain, **fields})
    job_id = str(made.get_json()["data"]["id"])
    for step in PATHS[status]:
        assert client.put(f"{JOBS}/{job_id}", json={"status": step}).status_code == 200
    return job_id


def body_of(answer: TestResponse) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def test_cancel_tells_what_happened_to_each(client: FlaskClient) -> None:
    domain = new_domain()
    jobs = {status: make(client, status, domain) for status in PATHS}
    unknown = str(uuid.uuid4())
    ids = [*jobs.values(), unknown, jobs["pending"].upper()]
    body = body_of(client.post(f"{JOBS}/cancel", json={"ids": ids, "reason": "too many"}))
    refusal = {"outcome": "refused", "error": "Job not found or cannot be cancelled"}
    assert body == {
        "success": True,
        "data": [
            {"id": jobs["pending"], "outcome": "cancelled", "status": "cancelled"},
            {"id": jobs["running"], "outcome": "cancelled", "status": "cancelled"},
            {
                "id": jobs["completed"],
                **refusal,
                "details": "Job is already completed",
                "status": "completed",
            },
            {"id": jobs["failed"], "outcome": "cancelled", "status": "cancelled"},
            {
                "id": jobs["cancelled"],
                **refusal,
                "details": "Job is already cancelled",
                "status": "cancelled",
            },
            {"id": unknown, "outcome": "not_found", "error": "Job not found"},
        ],
        "counts": {"cancelled": 3, "refused": 2, "not_found": 1},
        "has_more": False,
    }
    job = client.get(f"{JOBS}/{jobs['running']}").get_json()["data"]
    assert job["error_message"] == "Cancelled via API: too many"
    events = client.get(f"{JOBS}/{jobs['running']}/history").get_json()["data"]
    assert [event["action"] for event in events] == ["created", "updated", "cancelled"]


def test_retry_tells_what_happened_to_each(client: FlaskClient) -> None:
    domain = new_domain()
    failed = make(client, "failed", domain)
    used_up = make(client, "failed", domain, max_retries=0)
    completed = make(client, "completed", domain)
    body = body_of(
        client.post(
            f"{JOBS}/retry", json={"ids": [used_up, completed, failed], "delay_seconds": 60}
        )
    )
    assert body["counts"] == {"retried": 1, "refused": 2, "not_found": 0}
    assert body["data"] == [
        {
            "id": used_up,
            "outcome": "refused",
            "error": "Cannot transition from 'failed' to 'pending'",
            "details": "Maximum retries reached (0 of 0)",
            "status": "failed",
        },
        {
            "id": completed,
            "outcome": "refused",
            "error": "Cannot transition from 'completed' to 'pending'",
            "status": "completed",
        },
        {"id": failed, "outcome": "retried", "status": "pending"},
    ]
    job = client.get(f"{JOBS}/{failed}").get_json()["data"]
    assert job["retry_count"] == 1
    assert job["scheduled_for"] > job["updated_at"]


def test_filter_finds_only_jobs_that_can_change(client: FlaskClient) -> None:
    domain = new_domain()
    jobs = {status: make(client, status, domain) for status in PATHS}
    other = make(client, "pending", new_domain())
    request: dict[str, Any] = {"filter": {"domain": domain, "status": ["running", "completed"]}}
    body = body_of(client.post(f"{JOBS}/cancel", json=request))
    assert [job["id"] for job in body["data"]] == [jobs["running"]]
    request = {"filter": {"domain": domain, "status": "failed,pending"}, "limit": 1}
    first = body_of(client.post(f"{JOBS}/cancel", json=request))
    assert [job["id"] for job in first["data"]] == [jobs["failed"]]  # the newest
    assert first["has_more"] is True
    second = body_of(client.post(f"{JOBS}/cancel", json=request))
    assert [job["id"] for job in second["data"]] == [jobs["pending"]]
    assert second["has_more"] is False
    third = body_of(client.post(f"{JOBS}/cancel", json=request))
    assert (third["data"], third["counts"]["cancelled"]) == ([], 0)
    assert client.get(f"{JOBS}/{other}").get_json()["data"]["status"] == "pending"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Invalid filter: must be given, or ids"),
        (
            {"filter": {}},
            "Invalid filter: must be an object with at least one filter of the list",
        ),
        (
            {"filter": None},
            "Invalid filter: must be an object with at least one filter of the list",
        ),
        ({"filter": {"stauts": "failed"}}, "Invalid filter.stauts: is no filter"),
        ({"filter": {"limit": 1}}, "Invalid filter.limit: is no filter"),
        ({"filter": {"created_after": 5}}, "Invalid filter.created_after: must be"),
        ({"filter": {"status": []}}, "Invalid filter.status: must be one of"),
        ({"filter": {"status": [["failed"]]}}, "Invalid filter.status: must be one of"),
        ({"filter": {"tag": None}}, "Invalid filter.tag: must be"),
        ({"ids": []}, "Invalid ids: must be a list of 1 to 1000 UUIDs"),
        ({"ids": None}, "Invalid ids: must be a list of 1 to 1000 UUIDs"),
        ({"ids": ["x"]}, "Invalid ids: must be a list of 1 to 1000 UUIDs"),
        ({"ids": [str(uuid.uuid4())] * 1001}, "Invalid ids: must be a list of 1 to 1000 UUIDs"),
        (
            {"ids": [str(uuid.uuid4())], "filter": {"status": "failed"}},
            "Invalid filter: must be absent if ids are given",
        ),
        (
            {"ids": [str(uuid.uuid4())], "limit": 5},
            "Invalid limit: must be absent if ids are given",
        ),
        ({"filter": {"status": "failed"}, "limit": 1001}, "Invalid limit: must be"),
        ([], "Invalid body: must be a JSON object"),
    ],
)
@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_unclear_request_changes_nothing(
    client: FlaskClient, action: str, body: Any, error: str
) -> None:
    answer = client.post(f"{JOBS}/{action}", json=body)
    assert answer.status_code == 400
    assert answer.get_json()["error"].startswith(error)


def test_key_replays_the_first_outcomes(client: FlaskClient) -> None:
    job = make(client, "pending", new_domain())
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"ids": [job]}
    first = client.post(f"{JOBS}/cancel", json=body, headers=headers)
    again = client.post(f"{JOBS}/cancel", json=body, headers=headers)
    assert again.get_json() == first.get_json() == body_of(first)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = client.post(f"{JOBS}/cancel", json={"ids": [job] * 2}, headers=headers)
    assert other.status_code == 422


def test_refused_request_leaves_key_unused(client: FlaskClient) -> None:
    job, headers = make(client, "pending", new_domain()), {"Idempotency-Key": uuid.uuid4().hex}
    assert client.post(f"{JOBS}/cancel", json={}, headers=headers).status_code == 400
    body = body_of(client.post(f"{JOBS}/cancel", json={"ids": [job]}, headers=headers))
    assert body["counts"]["cancelled"] == 1


def test_masks_credentials_in_the_reason(client: FlaskClient) -> None:
    job = make(client, "pending", new_domain())
    client.post(f"{JOBS}/cancel", json={"ids": [job], "reason": "http://a:b@c/ \u0000"})
    shown = client.get(f"{JOBS}/{job}").get_json()["data"]["error_message"]
    assert shown.startswith("Cancelled via API: http://")
    assert "a:b@" not in shown
