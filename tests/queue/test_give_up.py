"""Retries by the worker that holds the lease: it gives the running job up."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from support.factories import read_all, read_history
from support.queue import (
    JOBS,
    claim_new_job,
    data,
    failure,
    get_job,
    lease_job,
    list_actions,
    parse_time,
)

HOUR = timedelta(hours=1)


def test_worker_gives_up_in_one_step(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client)
    body = {"error_message": "Blocked by https://u:secret@example.com", "delay_seconds": 30}
    after = client.post(f"{JOBS}/{job_id}/retry", json=body, headers=token).get_json()["data"]
    assert (after["status"], after["retry_count"], after["worker_id"]) == ("pending", 1, None)
    assert after["scheduled_for"] is not None
    steps = [("given_up", "running", "failed"), ("retried", "failed", "pending")]
    assert list_actions(client, job_id)[2:] == steps
    failed = read_history(client, job_id)[2]["changes"]
    assert failed["error_message"]["to"] == "Blocked by https://***@example.com"
    assert failure(client.post(f"{JOBS}/{job_id}/heartbeat", headers=token)) == (
        409,
        "Lease lost",
        None,
    )


def test_give_up_records_two_status_changes(client: FlaskClient) -> None:
    leased = lease_job(client)
    data(leased.put({"stats": {"pages": 7}}))
    answer = leased.post(
        "retry",
        {"error_message": "Blocked", "delay_seconds": 3600},
        headers={"X-Request-ID": "up-7"},
    )
    assert answer.get_json()["message"] == "Job queued for retry"
    after = data(answer)
    assert parse_time(after["scheduled_for"]) - parse_time(after["updated_at"]) == HOUR
    assert (after["retry_count"], after["error_message"], after["stats"]) == (1, None, {})
    assert (after["worker_id"], after["lease_expires_at"], after["started_at"]) == (
        None,
        None,
        None,
    )
    failed, retried = read_history(client, leased.job["id"])[-2:]
    assert (failed["action"], failed["old_status"], failed["new_status"]) == (
        "given_up",
        "running",
        "failed",
    )
    assert (retried["action"], retried["old_status"], retried["new_status"]) == (
        "retried",
        "failed",
        "pending",
    )
    assert failed["changes"]["error_message"] == {"from": None, "to": "Blocked"}
    assert retried["changes"]["error_message"] == {"from": "Blocked", "to": None}
    assert retried["changes"]["stats.pages"] == {"from": 7, "to": None}
    assert retried["changes"]["retry_count"] == {"from": 0, "to": 1}
    assert {event["request_id"] for event in (failed, retried)} == {"up-7"}


@pytest.mark.parametrize("body", [None, {}, {"error_message": None}])
def test_give_up_without_reason_names_the_worker(
    client: FlaskClient, body: dict[str, Any] | None
) -> None:
    leased = lease_job(client)
    data(leased.post("retry", body))
    failed = read_history(client, leased.job["id"])[-2]
    assert failed["changes"]["error_message"]["to"] == "Given up by worker w1"


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "given-up"}])
def test_giving_up_the_last_attempt_fails_the_job(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id, token = claim_new_job(client, max_retries=0)
    for _ in range(2 if headers else 1):
        answer = client.post(
            f"{JOBS}/{job_id}/retry", json={"error_message": "no"}, headers={**token, **headers}
        )
        error = "Cannot transition from 'failed' to 'pending'"
        assert failure(answer) == (400, error, "Maximum retries reached (0 of 0)")
    after = get_job(client, job_id)
    assert (after["status"], after["error_message"]) == ("failed", "no")
    assert list_actions(client, job_id)[2:] == [("given_up", "running", "failed")]


def test_repeated_give_up_fails_the_job_once(client: FlaskClient) -> None:
    leased, key = lease_job(client, max_retries=3), uuid.uuid4().hex
    data(leased.put({"retry_count": 3}))
    refused = (
        400,
        "Cannot transition from 'failed' to 'pending'",
        "Maximum retries reached (3 of 3)",
    )
    first, again = (
        leased.post("retry", {"error_message": "no"}, headers={"Idempotency-Key": key})
        for _ in range(2)
    )
    assert failure(first) == failure(again) == refused
    assert again.headers["Idempotent-Replayed"] == "true"
    assert failure(leased.post("retry", {"error_message": "no"})) == refused
    after = leased.show()
    assert (after["status"], after["error_message"], after["retry_count"]) == ("failed", "no", 3)
    assert after["completed_at"] is not None
    assert [event["action"] for event in read_history(client, leased.job["id"])][-2:] == [
        "updated",
        "given_up",
    ]


def test_give_up_may_reset_the_retry_count(client: FlaskClient) -> None:
    leased = lease_job(client)
    data(leased.put({"retry_count": 3}))
    after = data(leased.post("retry", {"reset_retry_count": True}))
    assert (after["status"], after["retry_count"]) == ("pending", 0)


def test_give_up_requires_the_token(client: FlaskClient) -> None:
    leased = lease_job(client)
    before = read_all(client, leased.job["id"])
    answer = client.post(f"{leased.path}/retry", json={"error_message": "no"})
    assert failure(answer) == (400, "Cannot transition from 'running' to 'pending'", None)
    assert read_all(client, leased.job["id"]) == before


def test_retry_after_a_reported_failure_is_counted(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client)
    client.put(f"{JOBS}/{job_id}", json={"status": "failed"}, headers=token)
    again = client.post(f"{JOBS}/{job_id}/retry", headers=token)
    assert (again.status_code, again.get_json()["data"]["retry_count"]) == (200, 1)


def test_retry_after_a_failure_with_message(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client)
    client.put(
        f"{JOBS}/{job_id}", json={"status": "failed", "error_message": "boom"}, headers=token
    )
    after = client.post(f"{JOBS}/{job_id}/retry", headers=token).get_json()["data"]
    assert (after["status"], after["retry_count"]) == ("pending", 1)
