"""Cancellation by DELETE, with and without a reason."""

import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.factories import make_job, read_all, read_history


def cancel(
    client: FlaskClient, job_id: str, reason: str | None = None, **headers: str
) -> TestResponse:
    """Cancel the job."""
    query = {} if reason is None else {"reason": reason}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.delete(f"/api/scrape-jobs/{job_id}", query_string=query, headers=named)


@pytest.mark.parametrize("status", ["pending", "running", "failed"])
def test_response_is_the_whole_job(client: FlaskClient, status: str) -> None:
    job = make_job(client, status, metadata={"tags": ["a"]}, config={"depth": 3})
    job = client.put(f"/api/scrape-jobs/{job['id']}", json={"stats": {"pages": 3}}).get_json()[
        "data"
    ]
    answer = cancel(client, job["id"], "User requested cancellation")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.get_json()
    after = body["data"]
    assert body == {"success": True, "data": after, "message": "Job cancelled successfully"}
    assert after == {
        **job,
        "status": "cancelled",
        "error_message": "Cancelled via API: User requested cancellation",
        "completed_at": after["updated_at"],
        "updated_at": after["updated_at"],
        "allowed_transitions": [],
    }
    found = client.get(f"/api/scrape-jobs/{job['id']}")
    assert found.get_json()["data"] == after
    assert found.headers["ETag"] == answer.headers["ETag"]


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (None, "Cancelled via API"),
        ("", "Cancelled via API"),
        (" \t\n ", "Cancelled via API"),
        ("\u200b\u202e\x00", "Cancelled via API"),
        ("a", "Cancelled via API: a"),
        ("0", "Cancelled via API: 0"),
        ("Größe & 日本 %20 +", "Cancelled via API: Größe & 日本 %20 +"),
        ("<b>no</b>", "Cancelled via API: <b>no</b>"),
        ("a\nb\tc", "Cancelled via API: a\nb\tc"),
        ("a\r\x1b[31m\u202eb\x00", "Cancelled via API: a[31mb"),
        ("http://u:pw1@h.example/x is wrong", "Cancelled via API: http://***@h.example/x is wrong"),
        ("password=hunter2 leaked", "Cancelled via API: password=*** leaked"),
    ],
)
def test_error_message_is_the_sanitised_reason(
    client: FlaskClient, reason: str | None, message: str
) -> None:
    answer = cancel(client, make_job(client)["id"], reason)
    assert answer.status_code == 200
    assert answer.get_json()["data"]["error_message"] == message


def test_a_long_reason_is_cut(client: FlaskClient) -> None:
    answer = cancel(client, make_job(client)["id"], "x" * 5000)
    message = answer.get_json()["data"]["error_message"]
    assert message.startswith("Cancelled via API: xxx")
    assert message.endswith("x… [truncated]")
    assert len(message) <= len("Cancelled via API: ") + 4096 + len("… [truncated]")


def test_invalid_utf_8_in_reason_is_accepted(client: FlaskClient) -> None:
    answer = client.delete(f"/api/scrape-jobs/{make_job(client)['id']}?reason=a%FF%ED%A0%80b")
    assert answer.status_code == 200
    message = answer.get_json()["data"]["error_message"]
    assert (message[:20], message[-1]) == ("Cancelled via API: a", "b")


def test_reason_replaces_error_of_failed_attempt(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    client.put(f"/api/scrape-jobs/{job['id']}", json={"error_message": "Request timeout"})
    assert cancel(client, job["id"]).get_json()["data"]["error_message"] == "Cancelled via API"
    changes = read_history(client, job["id"])[-1]["changes"]
    assert changes["error_message"] == {"from": "Request timeout", "to": "Cancelled via API"}


def test_history_records_the_cancellation(client: FlaskClient) -> None:
    job = make_job(client, "running")
    data = cancel(client, job["id"], "enough", X_Request_ID="cancel-1").get_json()["data"]
    events = read_history(client, job["id"])
    assert [event["id"] for event in events] == [1, 2, 3]
    assert events[-1] == {
        "id": 3,
        "at": data["updated_at"],
        "actor": {"type": "anonymous", "id": None, "name": None},
        "request_id": "cancel-1",
        "action": "cancelled",
        "old_status": "running",
        "new_status": "cancelled",
        "changes": {
            "error_message": {"from": None, "to": "Cancelled via API: enough"},
            "completed_at": {"from": None, "to": data["completed_at"]},
        },
    }


def test_missing_job_is_not_found(client: FlaskClient) -> None:
    answer = cancel(client, str(uuid.uuid4()), "why not")
    assert answer.status_code == 404
    assert answer.get_json() == {"success": False, "error": "Job not found"}


@pytest.mark.parametrize(
    "bad", ["1", "nil", "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"]
)
def test_invalid_id_is_rejected(client: FlaskClient, bad: str) -> None:
    answer = cancel(client, bad)
    assert answer.status_code == 400
    assert answer.get_json() == {"success": False, "error": "Invalid id: must be a UUID"}


def test_an_id_is_taken_in_any_case(client: FlaskClient) -> None:
    job = make_job(client)
    assert cancel(client, job["id"].upper()).get_json()["data"]["id"] == job["id"]


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_final_job_cannot_be_cancelled(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    before = read_all(client, job["id"])
    answer = cancel(client, job["id"], "too late")
    assert answer.status_code == 409
    assert answer.get_json() == {
        "success": False,
        "error": "Job not found or cannot be cancelled",
        "details": f"Job is already {status}",
    }
    assert read_all(client, job["id"]) == before


def test_second_cancellation_keeps_the_reason(client: FlaskClient) -> None:
    job = make_job(client)
    assert cancel(client, job["id"], "first").status_code == 200
    assert cancel(client, job["id"], "second").get_json()["details"] == "Job is already cancelled"
    data = client.get(f"/api/scrape-jobs/{job['id']}").get_json()["data"]
    assert data["error_message"] == "Cancelled via API: first"


def test_a_cancellation_of_another_version_writes_nothing(client: FlaskClient) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    answer = cancel(client, job["id"], If_Match='"99"')
    assert answer.status_code == 412
    assert answer.get_json() == {"success": False, "error": "Job was modified"}
    assert read_all(client, job["id"]) == before


def test_cancellation_of_current_version_succeeds(client: FlaskClient) -> None:
    job = make_job(client)
    tag = client.get(f"/api/scrape-jobs/{job['id']}").headers["ETag"]
    answer = cancel(client, job["id"], If_Match=tag)
    assert answer.status_code == 200
    assert answer.headers["ETag"] != tag


def test_stats_of_cancelled_job_are_an_object(client: FlaskClient) -> None:
    assert cancel(client, make_job(client)["id"]).get_json()["data"]["stats"] == {}


def test_worker_is_informed_of_cancellation(
    client: FlaskClient,
) -> None:
    job = make_job(client, "running")
    cancel(client, job["id"], "stop")
    answer = client.put(f"/api/scrape-jobs/{job['id']}", json={"stats": {"pagesProcessed": 9}})
    assert answer.status_code == 200
    assert answer.get_json()["data"]["status"] == "cancelled"
    assert answer.get_json()["data"]["stats"] == {"pagesProcessed": 9}
