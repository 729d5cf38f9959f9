"""Queue fields in PATCH."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from support.factories import make_job, read_all, read_history
from support.jobs import API, EARLIER, LATER, taken
from support.patching import patch_job, patched
from support.write_back import job_with_everything, take

MOVES: dict[str, Any] = {"priority": 9, "max_retries": 5, "config": {"depth": 4}}


def refused(
    client: FlaskClient, job: dict[str, Any], body: Any, **headers: str
) -> tuple[int, str, str | None]:
    """Send a patch that is rejected, and return its status, error and details."""
    before = read_all(client, job["id"])
    answer = patch_job(client, job["id"], body, **headers)
    assert read_all(client, job["id"]) == before
    return answer.status_code, answer.get_json()["error"], answer.get_json().get("details")


@pytest.mark.parametrize("status", ["pending", "failed"])
@pytest.mark.parametrize(
    ("field", "value", "changes"),
    [
        ("priority", 9, {"priority": {"from": 5, "to": 9}}),
        ("priority", 1, {"priority": {"from": 5, "to": 1}}),
        ("max_retries", 0, {"max_retries": {"from": 3, "to": 0}}),
        ("max_retries", 100, {"max_retries": {"from": 3, "to": 100}}),
        ("config", {"depth": 4}, {"config.depth": {"from": 3, "to": 4}}),
        (
            "config",
            {"depth": None, "new": [1]},
            {"config.depth": {"from": 3, "to": None}, "config.new": None},
        ),
    ],
)
def test_queueable_job_accepts_the_value(
    client: FlaskClient, status: str, field: str, value: Any, changes: dict[str, Any]
) -> None:
    job = make_job(client, status, config={"depth": 3, "deep": {"a": 1}})
    tag = client.get(f"{API}/{job['id']}").headers["ETag"]
    answer = patch_job(client, job["id"], {field: value}, If_Match=tag)
    assert answer.status_code == 200, answer.text
    after = answer.get_json()["data"]
    expected = value
    if field == "config":
        expected = {
            name: inner for name, inner in {**job["config"], **value}.items() if inner is not None
        }
    transitions = (
        ["cancelled"]
        if (status, after["max_retries"]) == ("failed", 0)
        else job["allowed_transitions"]
    )
    moved = {field: expected, "updated_at": after["updated_at"], "allowed_transitions": transitions}
    assert after == {**job, **moved}
    assert client.get(f"{API}/{job['id']}").get_json()["data"] == after
    assert answer.headers["ETag"] != tag
    event = read_history(client, job["id"])[-1]
    assert (event["action"], event["old_status"], event["new_status"]) == (
        "updated",
        status,
        status,
    )
    assert event["changes"].keys() == changes.keys()
    assert all(
        event["changes"][name] == change for name, change in changes.items() if change is not None
    )


def test_queue_fields_and_other_fields_combine(client: FlaskClient) -> None:
    job = make_job(client)
    after = patched(client, job["id"], {**MOVES, "scheduled_for": LATER, "metadata": {"by": "me"}})
    moved = {
        **MOVES,
        "scheduled_for": LATER,
        "metadata": {"by": "me"},
        "updated_at": after["updated_at"],
    }
    assert after == {**job, **moved}
    names = {"priority", "max_retries", "config.depth", "scheduled_for", "metadata.by"}
    assert read_history(client, job["id"])[-1]["changes"].keys() == names


def test_config_is_merged_in_depth(client: FlaskClient) -> None:
    job = make_job(client, config={"deep": {"a": 1, "b": 2}, "kept": [1]})
    assert patched(client, job["id"], {"config": {"deep": {"b": None, "c": 3}}})["config"] == {
        "deep": {"a": 1, "c": 3},
        "kept": [1],
    }


@pytest.mark.parametrize("status", ["running", "completed", "cancelled"])
@pytest.mark.parametrize("field", [*MOVES, "scheduled_for"])
def test_any_other_job_refuses_another_value(client: FlaskClient, status: str, field: str) -> None:
    job = make_job(client, status)
    error = f"Invalid {field}: can only be changed while the job is pending or failed"
    body = {field: (MOVES | {"scheduled_for": LATER})[field], "stats": {"lost": 1}}
    assert refused(client, job, body) == (400, error, None)


def test_refused_fields_are_named_in_order(client: FlaskClient) -> None:
    text = "can only be changed while the job is pending or failed"
    assert refused(client, make_job(client, "running"), {"scheduled_for": LATER, **MOVES}) == (
        400,
        f"Invalid priority: {text}",
        "; ".join(f"Invalid {name}: {text}" for name in ("max_retries", "config", "scheduled_for")),
    )


@pytest.mark.parametrize("status", ["pending", "running", "completed", "failed", "cancelled"])
def test_equal_value_is_no_change(client: FlaskClient, status: str) -> None:
    job, _ = job_with_everything(client, status, leased=False)
    body = {name: job[name] for name in (*MOVES, "scheduled_for")}
    after = patched(client, job["id"], body)
    assert after == {**job, "updated_at": after["updated_at"]}
    assert read_history(client, job["id"])[-1]["changes"] == {}


PRIORITY = "Invalid priority: must be an integer from 1 to 10"
MAX_RETRIES = "Invalid max_retries: must be an integer from 0 to 100"
CONFIG = "Invalid config: must be an object"
LIMIT = "Invalid config.maxConcurrent: must be a positive integer"
SCHEDULED_FOR = (
    "Invalid scheduled_for: must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"
)
NO_OBJECTS: list[Any] = [None, [], "x", 1]
INVALID: list[tuple[Any, str | None, str | None]] = [
    *(({"priority": value}, PRIORITY, None) for value in (0, 11, 5.5, "5", True, None)),
    *(({"max_retries": value}, MAX_RETRIES, None) for value in (-1, 101, 1.0, "3", None)),
    *(({"config": value}, CONFIG, None) for value in NO_OBJECTS),
    *(
        ({"config": {"maxConcurrent": value}}, LIMIT, None)
        for value in (0, -1, 1.5, "2", {"a": 1}, True)
    ),
    *(({"scheduled_for": value}, SCHEDULED_FOR, None) for value in ("now", "2024-01-01", 0, True)),
    ({"config": 1, "priority": 0, "status": 1}, None, f"{PRIORITY}; {CONFIG}"),
    (
        {"domain": "other.example", "priority": 9},
        "Invalid domain: cannot be changed by an update",
        None,
    ),
]


@pytest.mark.parametrize(("body", "error", "details"), INVALID)
@pytest.mark.parametrize("status", ["pending", "running"])
def test_an_invalid_value_is_refused(
    client: FlaskClient, status: str, body: Any, error: str | None, details: str | None
) -> None:
    status_code, told, more = refused(client, make_job(client, status), body)
    assert status_code == 400
    assert told == (
        error or "Invalid status: must be one of pending, running, completed, failed, cancelled"
    )
    assert more == details


@pytest.mark.parametrize("status", ["running", "completed", "cancelled"])
def test_config_sent_back_with_nulls_is_unchanged(client: FlaskClient, status: str) -> None:
    job = make_job(client, status, config={"userAgent": None, "deep": {"a": None, "b": 1}})
    after = patched(client, job["id"], job)
    assert after == {**job, "updated_at": after["updated_at"]}
    error = "Invalid config: can only be changed while the job is pending or failed"
    assert refused(client, job, {"config": {"userAgent": None}})[:2] == (400, error)
    assert refused(client, job, {"config": {**job["config"], "deep": {"a": None, "b": True}}})[
        :2
    ] == (400, error)


def test_config_that_grows_too_large_is_refused(client: FlaskClient) -> None:
    job = make_job(client, config={"one": "x" * 150_000})
    answer = refused(client, job, {"config": {"two": "x" * 150_000}})
    assert answer == (413, "Invalid config: must hold at most 256 KiB", None)
    assert patched(client, job["id"], {"config": {"one": None, "two": "x" * 150_000}})


def test_a_move_of_another_version_writes_nothing(client: FlaskClient) -> None:
    assert refused(client, make_job(client), {"priority": 9}, If_Match='"99"') == (
        412,
        "Job was modified",
        None,
    )


@pytest.mark.parametrize("status", ["running", "failed"])
def test_a_lease_token_moves_nothing(client: FlaskClient, status: str) -> None:
    job, token = take(client)
    client.put(f"{API}/{job['id']}", json={"status": status}, headers={"X-Lease-Token": token})
    status_code, error, _ = refused(
        client, job, {"status": status, "priority": 9}, X_Lease_Token=token
    )
    assert (status_code, error) == {
        "running": (
            400,
            "Invalid priority: can only be changed while the job is pending or failed",
        ),
        "failed": (409, "Lease lost"),
    }[status]
    same = patch_job(
        client, job["id"], {"status": status, "priority": job["priority"]}, X_Lease_Token=token
    )
    assert same.status_code == 200


def test_a_delayed_retry_is_one_patch(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    after = patched(client, job["id"], {"status": "pending", "scheduled_for": LATER, "priority": 9})
    assert (after["status"], after["scheduled_for"], after["priority"], after["retry_count"]) == (
        "pending",
        LATER,
        9,
        1,
    )
    assert taken(client, job["domain"]) == []


def test_failed_job_has_no_due_time(client: FlaskClient) -> None:
    assert refused(client, make_job(client, "failed"), {"scheduled_for": LATER}) == (
        400,
        "Invalid scheduled_for: must be null on a failed job",
        "It schedules a retry together with the status pending",
    )


@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_job_that_leaves_queue_rejects_due_time(client: FlaskClient, status: str) -> None:
    job = make_job(client, scheduled_for=LATER)
    error = f"Invalid scheduled_for: must be null on a {status} job"
    body = {"status": status, "scheduled_for": EARLIER}
    assert refused(client, job, body) == (400, error, None)
    assert patched(client, job["id"], {**body, "scheduled_for": LATER})["scheduled_for"] is None


def test_priority_may_change_as_the_job_starts(client: FlaskClient) -> None:
    after = patched(client, make_job(client)["id"], {"status": "running", "priority": 9})
    assert (after["status"], after["priority"]) == ("running", 9)


def test_fewer_retries_than_made_end_them(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    job = patched(client, job["id"], {"retry_count": 2, "max_retries": 1})
    assert job["allowed_transitions"] == ["cancelled"]
    status, error, details = refused(client, job, {"status": "pending"})
    assert (status, error, details) == (
        400,
        "Cannot transition from 'failed' to 'pending'",
        "Maximum retries reached (2 of 1)",
    )
    refusal = refused(client, job, {"status": "pending", "max_retries": 2})
    assert refusal[2] == "Maximum retries reached (2 of 2)"
    after = patched(client, job["id"], {"status": "pending", "max_retries": 3})
    assert (after["status"], after["retry_count"], after["max_retries"]) == ("pending", 3, 3)
