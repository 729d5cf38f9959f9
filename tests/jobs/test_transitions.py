"""Every pair of statuses through the API, what entering each one does, and what the database itself
refuses."""

import json
import uuid
from contextlib import closing
from itertools import product
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from flask.testing import FlaskClient

from support.factories import make_job, new_domain, read_all, read_history

STATUSES = ("pending", "running", "completed", "failed", "cancelled")
FOLLOWING = {
    "pending": ["running", "cancelled"],
    "running": ["completed", "failed", "cancelled"],
    "completed": [],
    "failed": ["pending", "cancelled"],
    "cancelled": [],
}
T1, T2, T3 = "2024-01-01T10:00:00.000Z", "2024-01-01T11:00:00.000Z", "2024-01-01T12:00:00.000Z"
ALLOWED = [(old, new) for old in STATUSES for new in FOLLOWING[old]]
REFUSED = [
    (old, new)
    for old, new in product(STATUSES, STATUSES)
    if old != new and new not in FOLLOWING[old]
]
METHODS = ["PUT", "PATCH"]


def change(
    client: FlaskClient, job: dict[str, Any], body: dict[str, Any], method: str = "PUT"
) -> Any:
    """Change the job by PUT or PATCH and return the answer."""
    media_type = "application/json" if method == "PUT" else "application/merge-patch+json"
    return client.open(
        f"/api/scrape-jobs/{job['id']}",
        method=method,
        data=json.dumps(body),
        headers={"Content-Type": media_type},
    )


def changed(client: FlaskClient, job: dict[str, Any], **body: Any) -> dict[str, Any]:
    """Change the job by a PUT that has to be accepted, and return it."""
    answer = change(client, job, body)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.get_json()["data"]
    return data


def failed_job(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    """Return a job whose attempt left something in every field."""
    job = make_job(client, "running", **fields)
    return changed(
        client,
        job,
        status="failed",
        error_message="Request timeout",
        stats={"pagesProcessed": 7, "errors": ["x" * 2000]},
        started_at=T1,
        completed_at=T2,
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), ALLOWED)
def test_an_allowed_transition_is_made_and_recorded(
    client: FlaskClient, method: str, old: str, new: str
) -> None:
    job = make_job(client, old)
    before = read_history(client, job["id"])
    answer = change(client, job, {"status": new}, method)
    assert answer.status_code == 200
    assert answer.get_json()["message"] == "Job updated successfully"
    assert answer.get_json()["data"]["status"] == new
    (event,) = read_history(client, job["id"])[len(before) :]
    assert (event["action"], event["old_status"], event["new_status"]) == ("updated", old, new)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), REFUSED)
def test_a_refused_transition_names_both_and_leaves_no_trace(
    client: FlaskClient, method: str, old: str, new: str
) -> None:
    job = make_job(client, old)
    before = read_all(client, job["id"])
    body = {
        "status": new,
        "stats": {"lost": 1},
        "metadata": {"lost": 1},
        "error_message": "lost",
        "retry_count": 2,
    }
    answer = change(client, job, body, method)
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": f"Cannot transition from '{old}' to '{new}'",
    }
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", STATUSES)
def test_naming_the_status_that_a_job_has_applies_the_rest_and_changes_no_status(
    client: FlaskClient, method: str, status: str
) -> None:
    job = make_job(client, status)
    body = {
        "status": status,
        "stats": {"pages": 1},
        "metadata": {"seen": True},
        "error_message": "noted",
    }
    answer = change(client, job, body, method)
    assert answer.status_code == 200
    after = answer.get_json()["data"]
    assert after == {
        **job,
        "stats": {"pages": 1},
        "metadata": {"seen": True},
        "error_message": "noted",
        "updated_at": after["updated_at"],
    }
    event = read_history(client, job["id"])[-1]
    assert event["old_status"] == event["new_status"] == status
    assert set(event["changes"]) == {"stats.pages", "metadata.seen", "error_message"}


@pytest.mark.parametrize("status", STATUSES)
def test_a_job_shows_which_transitions_it_allows(client: FlaskClient, status: str) -> None:
    assert make_job(client, status)["allowed_transitions"] == FOLLOWING[status]


@pytest.mark.parametrize("status", ["pending", "running", "failed"])
def test_delete_cancels_a_job_that_is_not_over(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    answer = client.delete(f"/api/scrape-jobs/{job['id']}")
    assert answer.status_code == 200
    assert answer.get_json()["message"] == "Job cancelled successfully"
    assert answer.get_json()["data"]["status"] == "cancelled"


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_delete_leaves_a_job_that_is_over_as_it_is(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    before = read_all(client, job["id"])
    answer = client.delete(f"/api/scrape-jobs/{job['id']}?reason=late")
    assert answer.status_code == 409
    assert answer.get_json() == {
        "success": False,
        "error": "Job not found or cannot be cancelled",
        "details": f"Job is already {status}",
    }
    assert read_all(client, job["id"]) == before


# ------------------------------------------------------------------------------------------------------------ effects


def test_a_new_job_has_neither_started_nor_ended(client: FlaskClient) -> None:
    job = make_job(client)
    assert (job["started_at"], job["completed_at"]) == (None, None)


def test_entering_running_sets_when_the_job_started(client: FlaskClient) -> None:
    job = changed(client, make_job(client), status="running")
    assert job["started_at"] == job["updated_at"]
    assert job["completed_at"] is None


@pytest.mark.parametrize("given", [T1, None])
def test_entering_running_takes_the_start_that_is_given(
    client: FlaskClient, given: str | None
) -> None:
    job = changed(client, make_job(client), started_at=T3)
    assert changed(client, job, status="running", started_at=given)["started_at"] == given


ENDINGS = [(old, new) for old, new in ALLOWED if new in ("completed", "failed", "cancelled")]


@pytest.mark.parametrize(("old", "new"), ENDINGS)
def test_entering_an_end_sets_when_the_job_ended(client: FlaskClient, old: str, new: str) -> None:
    before = make_job(client, old)
    job = changed(client, before, status=new)
    assert job["completed_at"] == job["updated_at"]
    assert job["started_at"] == before["started_at"]


@pytest.mark.parametrize(("old", "new"), ENDINGS)
def test_entering_an_end_takes_the_moment_that_is_given(
    client: FlaskClient, old: str, new: str
) -> None:
    assert changed(client, make_job(client, old), status=new, completed_at=T1)["completed_at"] == T1


def test_a_failed_job_may_have_no_end(client: FlaskClient) -> None:
    job = changed(client, make_job(client, "running"), completed_at=T1)
    job = changed(client, job, status="failed", completed_at=None)
    assert (job["status"], job["completed_at"]) == ("failed", None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_a_final_job_keeps_its_end(client: FlaskClient, method: str, status: str) -> None:
    job = make_job(client, status)
    before = read_all(client, job["id"])
    answer = change(client, job, {"completed_at": None, "stats": {"lost": 1}}, method)
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": f"Invalid completed_at: must not be null on a {status} job",
    }
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize(
    ("old", "new"), [("running", "completed"), ("running", "cancelled"), ("failed", "cancelled")]
)
def test_no_job_becomes_final_without_an_end(client: FlaskClient, old: str, new: str) -> None:
    job = changed(client, make_job(client, old), completed_at=T1)
    before = read_all(client, job["id"])
    answer = change(client, job, {"status": new, "completed_at": None})
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": f"Invalid completed_at: must not be null on a {new} job",
    }
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_a_final_job_may_have_its_end_corrected(client: FlaskClient, status: str) -> None:
    assert changed(client, make_job(client, status), completed_at=T3)["completed_at"] == T3


def test_a_retry_counts_and_clears_what_the_attempt_left(client: FlaskClient) -> None:
    failed = failed_job(client, metadata={"kept": 1})
    job = changed(client, failed, status="pending")
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
def test_a_retry_takes_what_the_request_gives(client: FlaskClient, field: str, value: Any) -> None:
    failed = changed(client, failed_job(client), retry_count=1)
    job = changed(client, failed, status="pending", **{field: value})
    defaults: dict[str, Any] = {
        "retry_count": 2,
        "started_at": None,
        "completed_at": None,
        "error_message": None,
        "stats": {},
    }
    assert {name: job[name] for name in defaults} == {**defaults, field: value}


def test_the_history_of_a_retry_keeps_what_the_failed_attempt_left(client: FlaskClient) -> None:
    failed = failed_job(client)
    changed(client, failed, status="pending")
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


def test_a_retried_job_runs_again_from_a_new_start(client: FlaskClient) -> None:
    job = changed(client, failed_job(client), status="pending")
    job = changed(client, job, status="running")
    assert job["started_at"] == job["updated_at"]
    assert (job["completed_at"], job["retry_count"]) == (None, 1)


@pytest.mark.parametrize("extra", [{}, {"retry_count": 0}])
@pytest.mark.parametrize(("count", "limit"), [(3, 3), (4, 3), (0, 0), (1, 1)])
def test_a_retry_is_refused_once_all_are_used_up(
    client: FlaskClient, count: int, limit: int, extra: dict[str, Any]
) -> None:
    job = changed(client, make_job(client, "failed", max_retries=limit), retry_count=count)
    assert job["allowed_transitions"] == ["cancelled"]
    before = read_all(client, job["id"])
    answer = change(client, job, {"status": "pending", **extra})
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": "Cannot transition from 'failed' to 'pending'",
        "details": f"Maximum retries reached ({count} of {limit})",
    }
    assert read_all(client, job["id"]) == before


def test_a_job_is_retried_as_often_as_it_may_be_and_no_more(client: FlaskClient) -> None:
    job = make_job(client, "failed", max_retries=2)
    for count in (1, 2):
        job = changed(client, job, status="pending")
        assert job["retry_count"] == count
        job = changed(client, changed(client, job, status="running"), status="failed")
    answer = change(client, job, {"status": "pending"})
    assert answer.get_json()["details"] == "Maximum retries reached (2 of 2)"


def test_a_job_without_retries_left_can_still_be_cancelled(client: FlaskClient) -> None:
    job = make_job(client, "failed", max_retries=0)
    assert client.delete(f"/api/scrape-jobs/{job['id']}").status_code == 200


@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_a_job_that_leaves_pending_is_no_longer_scheduled(client: FlaskClient, status: str) -> None:
    job = make_job(client, scheduled_for="2099-01-01T00:00:00+01:00")
    assert job["scheduled_for"] == "2098-12-31T23:00:00.000Z"
    assert changed(client, job, status="pending")["scheduled_for"] == job["scheduled_for"]
    assert changed(client, job, status=status)["scheduled_for"] is None
    assert read_history(client, job["id"])[-1]["changes"]["scheduled_for"] == {
        "from": job["scheduled_for"],
        "to": None,
    }


def test_a_retry_is_due_at_once(client: FlaskClient) -> None:
    job = make_job(client, scheduled_for="2099-01-01T00:00:00Z")
    for status in ("running", "failed", "pending"):
        job = changed(client, job, status=status)
    assert job["scheduled_for"] is None


@pytest.mark.parametrize(
    ("status", "keeps_worker"),
    [("completed", True), ("cancelled", True), ("failed", True), ("pending", False)],
)
def test_leaving_running_ends_the_lease_and_a_retry_forgets_its_worker(
    client: FlaskClient, database_url: str, status: str, keeps_worker: bool
) -> None:
    job = make_job(client, "running")
    lease = "UPDATE scrape_jobs SET lease_token = 't', worker_id = 'w', lease_expires_at = now() + interval '1 hour'"
    execute(database_url, f"{lease} WHERE id = %(id)s", {"id": job["id"]})
    assert changed(client, job, status="running")["lease_expires_at"] is not None
    if status == "pending":
        changed(client, job, status="failed")
    job = changed(client, job, status=status)
    assert job["lease_expires_at"] is None
    assert job["worker_id"] == ("w" if keeps_worker else None)


# ----------------------------------------------------------------------------------------------------------- database

ROW: dict[str, Any] = {
    "domain_id": "456e7890-e89b-12d3-a456-426614174000",
    "domain": "example.com",
    "job_type": "domain_scrape",
    "status": "pending",
    "priority": 5,
    "retry_count": 0,
    "max_retries": 3,
    "config": "{}",
    "metadata": "{}",
    "stats": "{}",
    "scheduled_for": None,
    "completed_at": None,
    "lease_expires_at": None,
    "created_at": T1,
    "updated_at": T1,
}

IMPOSSIBLE = [
    {"status": "paused"},
    {"status": ""},
    {"status": "PENDING"},
    {"priority": 0},
    {"priority": 11},
    {"retry_count": -1},
    {"max_retries": -1},
    {"max_retries": 101},
    {"status": "completed"},
    {"status": "cancelled"},
    *(
        {name: value}
        for name in ("stats", "metadata", "config")
        for value in ("[]", "null", '"text"', "1")
    ),
    {"lease_expires_at": T1},
    {"status": "running", "scheduled_for": T1},
]

POSSIBLE = [
    {},
    {"priority": 1, "max_retries": 0},
    {"priority": 10, "max_retries": 100, "retry_count": 2**31 - 1},
    {"status": "completed", "completed_at": T1},
    {"status": "cancelled", "completed_at": T1},
    {"status": "failed"},
    {"status": "running", "lease_expires_at": T1},
    {"scheduled_for": T1},
    {"stats": '{"a": null}', "metadata": '{"tags": []}', "config": '{"depth": 1}'},
]


def execute(database_url: str, sql: str, parameters: dict[str, Any]) -> None:
    """Run one statement past the service."""
    with (
        closing(psycopg2.connect(database_url)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql, parameters)


def insert(database_url: str, values: dict[str, Any]) -> None:
    """Insert a row with these values past the service."""
    row = {"id": str(uuid.uuid4()), **ROW, "domain": new_domain(), **values}
    columns, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    execute(database_url, f"INSERT INTO scrape_jobs ({columns}) VALUES ({places})", row)


def update(database_url: str, job_id: str, values: dict[str, Any]) -> None:
    """Update a row with these values past the service."""
    assignments = ", ".join(f"{name} = %({name})s" for name in values)
    execute(
        database_url,
        f"UPDATE scrape_jobs SET {assignments} WHERE id = %(id)s",
        {**values, "id": job_id},
    )


@pytest.mark.parametrize("values", POSSIBLE, ids=str)
def test_the_database_takes_a_row_that_can_exist(database_url: str, values: dict[str, Any]) -> None:
    insert(database_url, values)


@pytest.mark.parametrize("values", IMPOSSIBLE, ids=str)
def test_the_database_refuses_to_insert_an_impossible_row(
    database_url: str, values: dict[str, Any]
) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation):
        insert(database_url, values)


@pytest.mark.parametrize("values", IMPOSSIBLE, ids=str)
def test_the_database_refuses_to_make_a_row_impossible(
    client: FlaskClient, database_url: str, values: dict[str, Any]
) -> None:
    job = make_job(client)
    with pytest.raises(psycopg2.errors.CheckViolation):
        update(database_url, job["id"], values)
    assert client.get(f"/api/scrape-jobs/{job['id']}").get_json()["data"] == job


@pytest.mark.parametrize("name", [name for name, value in ROW.items() if value is not None])
def test_the_database_refuses_a_row_without_a_value_that_every_job_has(
    database_url: str, name: str
) -> None:
    with pytest.raises(psycopg2.errors.NotNullViolation):
        insert(database_url, {name: None})


def test_a_retry_count_at_its_limit_refuses_the_retry_and_nothing_overflows(
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
