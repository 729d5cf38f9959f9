"""Effects of a status change on the other fields of the job."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from support.factories import make_job, read_all, read_history
from support.job_changes import METHODS, change_job, execute_sql, update_job

T1, T2, T3 = "2024-01-01T10:00:00.000Z", "2024-01-01T11:00:00.000Z", "2024-01-01T12:00:00.000Z"


def make_failed_job(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    """Return a failed job whose attempt has set every field."""
    job = make_job(client, "running", **fields)
    return update_job(
        client,
        job,
        status="failed",
        error_message="Request timeout",
        stats={"pagesProcessed": 7, "errors": ["x" * 2000]},
        started_at=T1,
        completed_at=T2,
    )


def test_new_job_has_no_start_and_end(client: FlaskClient) -> None:
    job = make_job(client)
    assert (job["started_at"], job["completed_at"]) == (None, None)


def test_change_to_running_sets_started_at(client: FlaskClient) -> None:
    job = update_job(client, make_job(client), status="running")
    assert job["started_at"] == job["updated_at"]
    assert job["completed_at"] is None


@pytest.mark.parametrize("given", [T1, None])
def test_change_to_running_accepts_given_started_at(client: FlaskClient, given: str | None) -> None:
    job = update_job(client, make_job(client), started_at=T3)
    assert update_job(client, job, status="running", started_at=given)["started_at"] == given


ENDINGS = [
    ("pending", "cancelled"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("failed", "cancelled"),
]


@pytest.mark.parametrize(("old", "new"), ENDINGS)
def test_end_of_attempt_sets_completed_at(client: FlaskClient, old: str, new: str) -> None:
    before = make_job(client, old)
    job = update_job(client, before, status=new)
    assert job["completed_at"] == job["updated_at"]
    assert job["started_at"] == before["started_at"]


@pytest.mark.parametrize(("old", "new"), ENDINGS)
def test_end_of_attempt_accepts_given_completed_at(client: FlaskClient, old: str, new: str) -> None:
    assert (
        update_job(client, make_job(client, old), status=new, completed_at=T1)["completed_at"] == T1
    )


def test_failed_job_may_have_no_completed_at(client: FlaskClient) -> None:
    job = update_job(client, make_job(client, "running"), completed_at=T1)
    job = update_job(client, job, status="failed", completed_at=None)
    assert (job["status"], job["completed_at"]) == ("failed", None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_final_job_cannot_lose_completed_at(client: FlaskClient, method: str, status: str) -> None:
    job = make_job(client, status)
    before = read_all(client, job["id"])
    answer = change_job(client, job, {"completed_at": None, "stats": {"lost": 1}}, method)
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": f"Invalid completed_at: must not be null on a {status} job",
    }
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize(
    ("old", "new"), [("running", "completed"), ("running", "cancelled"), ("failed", "cancelled")]
)
def test_job_cannot_become_final_without_completed_at(
    client: FlaskClient, old: str, new: str
) -> None:
    job = update_job(client, make_job(client, old), completed_at=T1)
    before = read_all(client, job["id"])
    answer = change_job(client, job, {"status": new, "completed_at": None})
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": f"Invalid completed_at: must not be null on a {new} job",
    }
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_completed_at_of_final_job_can_be_corrected(client: FlaskClient, status: str) -> None:
    assert update_job(client, make_job(client, status), completed_at=T3)["completed_at"] == T3


def test_retry_is_counted_and_clears_the_attempt(client: FlaskClient) -> None:
    failed = make_failed_job(client, metadata={"kept": 1})
    job = update_job(client, failed, status="pending")
    assert job == {
        **failed,
        "status": "pending",
        "retry_count": 1,
        "started_at": None,
        "completed_at": None,
        "error_message": None,
        "stats": {},
        "allowed_transitions": ["running", "cancelled"],
        "updated_at": job["updated_at"],
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("retry_count", 0),
        ("retry_count", 3),
        ("started_at", T3),
        ("completed_at", T3),
        ("error_message", "again, slower"),
        ("stats", {"resumeFrom": 7}),
    ],
)
def test_retry_keeps_values_of_the_request(client: FlaskClient, field: str, value: Any) -> None:
    failed = update_job(client, make_failed_job(client), retry_count=1)
    job = update_job(client, failed, status="pending", **{field: value})
    defaults: dict[str, Any] = {
        "retry_count": 2,
        "started_at": None,
        "completed_at": None,
        "error_message": None,
        "stats": {},
    }
    assert {name: job[name] for name in defaults} == {**defaults, field: value}


def test_event_of_retry_keeps_cleared_values(client: FlaskClient) -> None:
    failed = make_failed_job(client)
    update_job(client, failed, status="pending")
    event = read_history(client, failed["id"])[-1]
    assert (event["old_status"], event["new_status"]) == ("failed", "pending")
    assert event["changes"] == {
        "retry_count": {"from": 0, "to": 1},
        "started_at": {"from": T1, "to": None},
        "completed_at": {"from": T2, "to": None},
        "error_message": {"from": "Request timeout", "to": None},
        "stats.pagesProcessed": {"from": 7, "to": None},
        "stats.errors": {"from": ["x" * 2000], "to": None},
    }


def test_retried_job_gets_new_started_at(client: FlaskClient) -> None:
    job = update_job(client, make_failed_job(client), status="pending")
    job = update_job(client, job, status="running")
    assert job["started_at"] == job["updated_at"]
    assert (job["completed_at"], job["retry_count"]) == (None, 1)


@pytest.mark.parametrize("extra", [{}, {"retry_count": 0}])
@pytest.mark.parametrize(("count", "limit"), [(3, 3), (4, 3), (0, 0), (1, 1)])
def test_retry_without_retries_left_is_refused(
    client: FlaskClient, count: int, limit: int, extra: dict[str, Any]
) -> None:
    job = update_job(client, make_job(client, "failed", max_retries=limit), retry_count=count)
    assert job["allowed_transitions"] == ["cancelled"]
    before = read_all(client, job["id"])
    answer = change_job(client, job, {"status": "pending", **extra})
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": "Cannot transition from 'failed' to 'pending'",
        "details": f"Maximum retries reached ({count} of {limit})",
    }
    assert read_all(client, job["id"]) == before


def test_job_is_retried_max_retries_times(client: FlaskClient) -> None:
    job = make_job(client, "failed", max_retries=2)
    for count in (1, 2):
        job = update_job(client, job, status="pending")
        assert job["retry_count"] == count
        job = update_job(client, update_job(client, job, status="running"), status="failed")
    answer = change_job(client, job, {"status": "pending"})
    assert answer.get_json()["details"] == "Maximum retries reached (2 of 2)"


def test_job_without_retries_left_can_be_cancelled(client: FlaskClient) -> None:
    job = make_job(client, "failed", max_retries=0)
    assert client.delete(f"/api/scrape-jobs/{job['id']}").status_code == 200


@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_scheduled_for_is_cleared_after_pending(client: FlaskClient, status: str) -> None:
    job = make_job(client, scheduled_for="2099-01-01T00:00:00+01:00")
    assert job["scheduled_for"] == "2098-12-31T23:00:00.000Z"
    assert update_job(client, job, status="pending")["scheduled_for"] == job["scheduled_for"]
    assert update_job(client, job, status=status)["scheduled_for"] is None
    assert read_history(client, job["id"])[-1]["changes"]["scheduled_for"] == {
        "from": job["scheduled_for"],
        "to": None,
    }


def test_retry_is_due_at_once(client: FlaskClient) -> None:
    job = make_job(client, scheduled_for="2099-01-01T00:00:00Z")
    for status in ("running", "failed", "pending"):
        job = update_job(client, job, status=status)
    assert job["scheduled_for"] is None


@pytest.mark.parametrize(
    ("status", "keeps_worker"),
    [("completed", True), ("cancelled", True), ("failed", True), ("pending", False)],
)
def test_lease_ends_with_the_status_running(
    client: FlaskClient, database_url: str, status: str, keeps_worker: bool
) -> None:
    job = make_job(client, "running")
    lease = "lease_token = 't', worker_id = 'w', lease_expires_at = now() + interval '1 hour'"
    execute_sql(
        database_url, f"UPDATE scrape_jobs SET {lease} WHERE id = %(id)s", {"id": job["id"]}
    )
    assert update_job(client, job, status="running")["lease_expires_at"] is not None
    if status == "pending":
        update_job(client, job, status="failed")
    job = update_job(client, job, status=status)
    assert job["lease_expires_at"] is None
    assert job["worker_id"] == ("w" if keeps_worker else None)


def test_retry_count_at_its_limit_does_not_overflow(
    client: FlaskClient,
) -> None:
    job = make_job(client, "failed")
    path = f"/api/scrape-jobs/{job['id']}"
    assert client.put(path, json={"retry_count": 2**31 - 1}).status_code == 200
    answer = client.put(path, json={"status": "pending"})
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": "Cannot transition from 'failed' to 'pending'",
        "details": "Maximum retries reached (2147483647 of 3)",
    }
