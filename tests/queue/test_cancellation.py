"""Cancelled jobs: how the worker learns of the cancellation, and its last report."""

import uuid
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.factories import read_all, read_history
from support.queue import (
    JOBS,
    LeasedJob,
    claim_new_job,
    data,
    failure,
    get_job,
    lease_job,
    list_actions,
)


def test_cancellation_is_acknowledged_once(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client)
    client.delete(f"{JOBS}/{job_id}?reason=enough")
    for _ in range(3):
        answer = client.post(f"{JOBS}/{job_id}/heartbeat", headers=token)
        assert (answer.status_code, answer.get_json()["data"]["status"]) == (200, "cancelled")
    heard = ("cancel_heard", "cancelled", "cancelled")
    assert list_actions(client, job_id)[2:] == [("cancelled", "running", "cancelled"), heard]


def test_only_the_worker_acknowledges_a_cancellation(client: FlaskClient) -> None:
    leased = lease_job(client)
    leased.cancel()
    client.get(leased.path)
    client.post(f"{leased.path}/heartbeat")
    client.post(f"{leased.path}/heartbeat", headers={"X-Lease-Token": "wrong"})
    client.put(leased.path, json={"stats": {"a": 1}})
    assert leased.acknowledgements() == 0


def test_heartbeat_returns_the_cancelled_job(client: FlaskClient) -> None:
    leased = lease_job(client)
    client.delete(f"{leased.path}?reason=enough")
    answers = [leased.post("heartbeat") for _ in range(3)]
    for answer in answers:
        shown = data(answer)
        assert (shown["status"], shown["error_message"]) == (
            "cancelled",
            "Cancelled via API: enough",
        )
        assert (shown["lease_expires_at"], shown["worker_id"]) == (None, "w1")
        assert answer.headers["ETag"] == client.get(leased.path).headers["ETag"]
    assert leased.acknowledgements() == 1
    event = read_history(client, leased.job["id"])[-1]
    assert (event["action"], event["old_status"], event["new_status"]) == (
        "cancel_heard",
        "cancelled",
        "cancelled",
    )
    assert event["changes"] == {}


def test_worker_may_report_once_after_cancellation(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client)
    client.delete(f"{JOBS}/{job_id}")
    last = client.put(
        f"{JOBS}/{job_id}", json={"stats": {"pages": 7}, "metadata": {"log": "x"}}, headers=token
    )
    assert last.status_code == 200
    assert last.get_json()["data"]["stats"] == {"pages": 7}
    assert last.headers["ETag"] == client.get(f"{JOBS}/{job_id}").headers["ETag"]
    again = client.put(f"{JOBS}/{job_id}", json={"stats": {"pages": 8}}, headers=token)
    assert failure(again) == (409, "Lease lost", None)
    assert get_job(client, job_id)["stats"] == {"pages": 7}
    assert client.post(f"{JOBS}/{job_id}/heartbeat", headers=token).status_code == 200
    assert [action for action, _, _ in list_actions(client, job_id)[3:]] == [
        "updated",
        "cancel_heard",
    ]


def test_heartbeats_after_the_last_report_change_nothing(client: FlaskClient) -> None:
    leased = lease_job(client)
    leased.cancel()
    last = leased.put({"stats": {"pages": 7}, "metadata": {"log": "x"}})
    assert (data(last)["stats"], data(last)["metadata"]) == ({"pages": 7}, {"log": "x"})
    after = read_all(client, leased.job["id"])
    assert failure(leased.put({"metadata": {"log": "y"}})) == (409, "Lease lost", None)
    assert data(leased.post("heartbeat")) == data(last)
    assert read_all(client, leased.job["id"]) == after
    assert leased.acknowledgements() == 1


@pytest.mark.parametrize("status", ["completed", "failed", "running", "pending"])
def test_refused_report_is_not_the_last_report(client: FlaskClient, status: str) -> None:
    leased = lease_job(client)
    leased.cancel()
    error = f"Cannot transition from 'cancelled' to '{status}'"
    for _ in range(2):
        assert failure(leased.put({"status": status, "stats": {"lost": 1}})) == (400, error, None)
    assert leased.acknowledgements() == 1
    assert data(leased.put({"stats": {"pages": 7}}))["stats"] == {"pages": 7}
    assert leased.acknowledgements() == 1


REFUSED_REQUESTS: dict[str, Callable[[LeasedJob], TestResponse]] = {
    "put": lambda leased: leased.put({"status": "completed"}),
    "patch": lambda leased: leased.patch({"status": "completed"}),
    "retry": lambda leased: leased.post("retry"),
    "release": lambda leased: leased.post("release"),
    "retry with a key": lambda leased: leased.post(
        "retry", headers={"Idempotency-Key": uuid.uuid4().hex}
    ),
    "release with a key": lambda leased: leased.post(
        "release", headers={"Idempotency-Key": uuid.uuid4().hex}
    ),
    "delete": lambda leased: leased.client.delete(
        leased.path, headers={"X-Lease-Token": leased.token}
    ),
}


@pytest.mark.parametrize("action", REFUSED_REQUESTS)
def test_refusal_naming_the_cancellation_is_recorded(client: FlaskClient, action: str) -> None:
    leased = lease_job(client)
    leased.cancel()
    answer = REFUSED_REQUESTS[action](leased)
    assert answer.status_code in (400, 409)
    assert "cancelled" in answer.text
    assert leased.acknowledgements() == 1


@pytest.mark.parametrize("path", ["", "/retry", "/release"])
def test_refusal_names_and_records_the_cancellation(client: FlaskClient, path: str) -> None:
    job_id, token = claim_new_job(client)
    client.delete(f"{JOBS}/{job_id}")
    url, body = f"{JOBS}/{job_id}{path}", {"status": "completed"}
    answer = client.post(url, headers=token) if path else client.put(url, json=body, headers=token)
    status, error, _ = failure(answer)
    assert status == 400
    assert error.startswith("Cannot transition from 'cancelled' to ")
    assert list_actions(client, job_id)[-1][0] == "cancel_heard"


def test_other_refusals_record_nothing(client: FlaskClient) -> None:
    leased = lease_job(client)
    leased.cancel()
    stale = leased.put({"stats": {"a": 1}}, headers={"If-Match": '"1"'})
    assert failure(stale) == (412, "Job was modified", None)
    large = leased.put({"stats": {"a": "x" * 300_000}})
    assert failure(large) == (413, "Invalid stats: must hold at most 256 KiB", None)
    assert leased.acknowledgements() == 0


def test_patch_may_be_the_last_report(client: FlaskClient) -> None:
    leased = lease_job(client)
    data(leased.put({"stats": {"pages": 1, "errors": 2}}))
    leased.cancel()
    assert data(leased.patch({"stats": {"errors": None}}))["stats"] == {"pages": 1}
    assert leased.acknowledgements() == 1
    assert failure(leased.patch({"stats": {"pages": 3}})) == (409, "Lease lost", None)
