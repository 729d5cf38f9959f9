"""PATCH moves a job that waits, or may wait again: priority, due time, retries and config; and the
queue follows."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from requests import Response, Session

from app.events.signals import work_available
from support.factories import make_job, new_domain, read_all, read_history
from support.service import Service
from tests.jobs.test_patch import MEDIA_TYPE, patch_job, patched
from tests.jobs.test_write_back import job_with_everything, take

API = "/api/scrape-jobs"
LATER, EARLIER = "2099-01-01T00:00:00.000Z", "2024-01-01T00:00:00.000Z"
MOVES: dict[str, Any] = {"priority": 9, "max_retries": 5, "config": {"depth": 4}}
RACES = 60


def refused(
    client: FlaskClient, job: dict[str, Any], body: Any, **headers: str
) -> tuple[int, str, str | None]:
    """Send a patch that has to write nothing, and return its status, error and details."""
    before = read_all(client, job["id"])
    answer = patch_job(client, job["id"], body, **headers)
    assert read_all(client, job["id"]) == before
    return answer.status_code, answer.get_json()["error"], answer.get_json().get("details")


def taken(client: FlaskClient, domain: str, limit: int = 1) -> list[str]:
    """Return the ids of the jobs that a worker is given."""
    body = {"worker_id": "w", "domains": [domain], "limit": limit}
    return [job["id"] for job in client.post(f"{API}/next", json=body).get_json()["data"]]


# ---------------------------------------------------------------------------------------------------------- fields


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
def test_a_job_that_may_wait_takes_the_value(
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


def test_moves_and_other_fields_come_together(client: FlaskClient) -> None:
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
def test_config_sent_back_with_nulls_is_no_change(client: FlaskClient, status: str) -> None:
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


# ----------------------------------------------------------------------------------------------------- transitions


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
def test_job_that_stops_waiting_takes_no_due_time(client: FlaskClient, status: str) -> None:
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


# ----------------------------------------------------------------------------------------------------------- queue


def test_a_higher_priority_goes_first(client: FlaskClient) -> None:
    domain = new_domain()
    ids = [make_job(client, domain=domain, priority=priority)["id"] for priority in (5, 5, 4)]
    patched(client, ids[2], {"priority": 10})
    patched(client, ids[0], {"priority": 1})
    assert client.get(f"{API}/{ids[2]}/queue").get_json()["data"]["priority"] == 10
    assert taken(client, domain, 3) == [ids[2], ids[1], ids[0]]


@pytest.mark.parametrize("moment", [None, EARLIER])
def test_a_delayed_job_becomes_due_at_once(client: FlaskClient, moment: str | None) -> None:
    job = make_job(client, scheduled_for=LATER)
    assert taken(client, job["domain"]) == []
    after = patched(client, job["id"], {"scheduled_for": moment})
    assert after["scheduled_for"] == moment
    assert taken(client, job["domain"]) == [job["id"]]


def test_a_due_job_is_put_off(client: FlaskClient) -> None:
    job = make_job(client)
    patched(client, job["id"], {"scheduled_for": "2099-01-01T02:00:00.000500+02:00"})
    assert client.get(f"{API}/{job['id']}/queue").get_json()["data"]["due_at"] == LATER
    assert taken(client, job["domain"]) == []


@pytest.mark.parametrize("most", [2, None])
def test_raised_limit_lets_the_job_start(client: FlaskClient, most: int | None) -> None:
    domain = new_domain()
    make_job(client, "running", domain=domain)
    job = make_job(client, domain=domain, config={"maxConcurrent": 1, "depth": 3})
    assert taken(client, domain) == []
    patched(client, job["id"], {"config": {"depth": 4}})
    assert taken(client, domain) == []
    patched(client, job["id"], {"config": {"maxConcurrent": most}})
    assert taken(client, domain) == [job["id"]]


def test_new_limit_holds_the_job_back(client: FlaskClient) -> None:
    domain = new_domain()
    make_job(client, "running", domain=domain)
    job = make_job(client, domain=domain)
    patched(client, job["id"], {"config": {"maxConcurrent": 1}})
    held = client.get(f"{API}/{job['id']}/queue").get_json()["data"]["held_back_by"]
    assert (held["limit"], held["allowed"]) == ("config.maxConcurrent", 1)


@contextmanager
def announcements() -> Iterator[list[object]]:
    """Collect the announcements of work."""
    heard: list[object] = []

    def hear(sender: object) -> None:
        heard.append(sender)

    work_available.connect(hear)
    try:
        yield heard
    finally:
        work_available.disconnect(hear)


@pytest.mark.parametrize(
    "body", [{"scheduled_for": None}, {"priority": 9}, {"config": {"maxConcurrent": None}}]
)
def test_move_wakes_waiting_requests(client: FlaskClient, body: dict[str, Any]) -> None:
    job = make_job(client, scheduled_for=LATER)
    with announcements() as heard:
        patched(client, job["id"], body)
        assert heard
    with announcements() as heard:
        assert patch_job(client, job["id"], body, If_Match='"1"').status_code == 412
        assert not heard


def test_waiting_request_gets_the_moved_job(service: Service) -> None:
    job = service.create(domain=new_domain(), scheduled_for=LATER)
    body = {"worker_id": "w", "domains": [job["domain"]], "wait_seconds": 20}

    def wait(session: Session) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = session.post(
            f"{service.jobs}/next", json=body, timeout=30
        ).json()["data"]
        return data

    def move(session: Session) -> list[dict[str, Any]]:
        return [patch(service, job["id"], {"scheduled_for": None}, session).json()["data"]]

    found, _ = service.at_once(wait, move)
    assert [each["id"] for each in found] == [job["id"]]


# ----------------------------------------------------------------------------------------------------------- races


def patch(service: Service, job_id: str, body: dict[str, Any], session: Session) -> Response:
    """Send the patch over a connection of its own."""
    headers = {"Content-Type": MEDIA_TYPE}
    return session.patch(
        f"{service.jobs}/{job_id}", data=json.dumps(body), headers=headers, timeout=30
    )


@pytest.mark.parametrize(
    "body", [{"priority": 9}, {"scheduled_for": LATER}, {"config": {"depth": 9}}], ids=str
)
def test_claim_sees_the_move_or_refuses_it(service: Service, body: dict[str, Any]) -> None:
    domain = new_domain()
    ids = [service.create(domain=domain)["id"] for _ in range(RACES)]
    start = threading.Barrier(2, timeout=30)

    def move(session: Session) -> dict[str, Any]:
        start.wait()
        return {job_id: patch(service, job_id, body, session) for job_id in ids}

    def claim(session: Session) -> dict[str, Any]:
        start.wait()
        asked = {"worker_id": "w", "domains": [domain], "limit": 3}
        answers = [
            session.post(f"{service.jobs}/next", json=asked, timeout=30).json()["data"]
            for _ in range(RACES)
        ]
        return {job["id"]: job for jobs in answers for job in jobs}

    moves, claims = service.at_once(move, claim)
    (field, value), *_ = body.items()
    assert {answer.status_code for answer in moves.values()} <= {200, 400}
    for job_id, answer in moves.items():
        now = requests.get(f"{service.jobs}/{job_id}", timeout=10).json()["data"]
        if answer.status_code == 400:
            assert answer.json()["error"].endswith(
                "can only be changed while the job is pending or failed"
            )
            assert job_id in claims
            assert now[field] == claims[job_id][field] != value
        elif job_id in claims:  # taken after the move: a job that was put off is not
            assert field != "scheduled_for"
            assert now[field] == claims[job_id][field] == value
        else:
            assert now[field] == value


def test_moves_at_once_are_all_kept(service: Service) -> None:
    job = service.create()
    moves = [
        partial(patch, service, job["id"], {"config": {f"key{number}": number}})
        for number in range(30)
    ]
    assert [answer.status_code for answer in service.at_once(*moves)] == [200] * 30
    found = requests.get(f"{service.jobs}/{job['id']}", timeout=10).json()["data"]
    assert found["config"] == {f"key{number}": number for number in range(30)}
