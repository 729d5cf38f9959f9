"""Retries of failed jobs."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from support.factories import make_job, read_all
from support.queue import JOBS, claim, data, failure, get_job, list_actions, parse_time

HOUR = timedelta(hours=1)


def fail_with_used_up_retries(client: FlaskClient, status: str = "failed") -> dict[str, Any]:
    job = make_job(client, status)
    found: dict[str, Any] = data(client.put(f"{JOBS}/{job['id']}", json={"retry_count": 3}))
    return found


def test_failed_job_is_retried_now(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    answer = client.post(f"{JOBS}/{job['id']}/retry")
    assert answer.status_code == 200
    assert answer.get_json()["message"] == "Job queued for retry"
    after = answer.get_json()["data"]
    assert (after["status"], after["retry_count"], after["scheduled_for"]) == ("pending", 1, None)
    assert list_actions(client, job["id"])[-1] == ("retried", "failed", "pending")
    assert [claimed["id"] for claimed in claim(client, job["domain"])] == [job["id"]]


def test_failed_job_is_retried_later(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    after = client.post(f"{JOBS}/{job['id']}/retry", json={"delay_seconds": 90}).get_json()["data"]
    waits = datetime.fromisoformat(after["scheduled_for"]) - datetime.fromisoformat(
        after["updated_at"]
    )
    assert waits == timedelta(seconds=90)
    assert claim(client, job["domain"]) == []


@pytest.mark.parametrize("seconds", [0, 365 * 24 * 3600])
def test_retry_delay_ranges_up_to_a_year(client: FlaskClient, seconds: int) -> None:
    job = make_job(client, "failed")
    after = data(client.post(f"{JOBS}/{job['id']}/retry", json={"delay_seconds": seconds}))
    assert parse_time(after["scheduled_for"]) - parse_time(after["updated_at"]) == timedelta(
        seconds=seconds
    )
    assert len(claim(client, job["domain"])) == (seconds == 0)


def test_retry_keeps_the_given_error_message(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    after = data(
        client.post(f"{JOBS}/{job['id']}/retry", json={"error_message": "again token=abc"})
    )
    assert (after["status"], after["error_message"]) == ("pending", "again token=***")


def test_retries_are_counted_until_reset(client: FlaskClient) -> None:
    job = make_job(client, "failed", max_retries=1)
    url = f"{JOBS}/{job['id']}"
    assert client.post(f"{url}/retry").status_code == 200
    for status in ("running", "failed"):
        client.put(url, json={"status": status})
    refused = (
        400,
        "Cannot transition from 'failed' to 'pending'",
        "Maximum retries reached (1 of 1)",
    )
    assert failure(client.post(f"{url}/retry")) == refused
    anew = client.post(f"{url}/retry", json={"reset_retry_count": True})
    assert anew.get_json()["data"]["retry_count"] == 0


def test_used_up_retries_are_refused_until_reset(client: FlaskClient) -> None:
    job = fail_with_used_up_retries(client)
    before = read_all(client, job["id"])
    refused = (
        400,
        "Cannot transition from 'failed' to 'pending'",
        "Maximum retries reached (3 of 3)",
    )
    for body in (None, {}, {"reset_retry_count": False}, {"delay_seconds": 5}):
        assert failure(client.post(f"{JOBS}/{job['id']}/retry", json=body)) == refused
    assert read_all(client, job["id"]) == before
    body = {"reset_retry_count": True, "delay_seconds": 3600}
    after = data(client.post(f"{JOBS}/{job['id']}/retry", json=body))
    assert (after["status"], after["retry_count"]) == ("pending", 0)
    assert parse_time(after["scheduled_for"]) - parse_time(after["updated_at"]) == HOUR


def test_reset_does_not_help_without_retries(client: FlaskClient) -> None:
    job = make_job(client, "failed", max_retries=0)
    answer = client.post(f"{JOBS}/{job['id']}/retry", json={"reset_retry_count": True})
    assert failure(answer)[0] == 400
    assert failure(answer)[2] == "Maximum retries reached (0 of 0)"


def test_retry_respects_if_match(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    path = f"{JOBS}/{job['id']}"
    tag = client.get(path).headers["ETag"]
    stale = client.post(f"{path}/retry", headers={"If-Match": '"1"'})
    assert failure(stale) == (412, "Job was modified", None)
    assert data(client.post(f"{path}/retry", headers={"If-Match": tag}))["status"] == "pending"


@pytest.mark.parametrize("status", ["pending", "running", "completed", "cancelled"])
def test_only_failed_jobs_are_retried(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    error = f"Cannot transition from '{status}' to 'pending'"
    assert failure(client.post(f"{JOBS}/{job['id']}/retry")) == (400, error, None)
    assert get_job(client, job["id"]) == job


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"delay_seconds": -1}, "Invalid delay_seconds: must be an integer from 0 to 31536000"),
        ({"delay_seconds": 1.5}, "Invalid delay_seconds: must be an integer from 0 to 31536000"),
        ({"reset_retry_count": 1}, "Invalid reset_retry_count: must be true or false"),
        ({"error_message": 7}, "Invalid error_message: must be a string"),
        ({"delay": 7}, "Unknown field: delay"),
    ],
)
def test_invalid_retry_field_is_named(
    client: FlaskClient, fields: dict[str, Any], error: str
) -> None:
    job = make_job(client, "failed")
    assert failure(client.post(f"{JOBS}/{job['id']}/retry", json=fields)) == (400, error, None)
