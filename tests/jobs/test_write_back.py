"""A client reads a job, changes a field and sends the whole job back, by PUT and by PATCH."""

import json
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from app.jobs.merge_patch import merge_patch
from support.factories import make_job, new_domain, read_all, read_history
from support.job_changes import ALLOWED, FOLLOWING, METHODS, STATUSES
from support.job_changes import change_job as change
from support.job_changes import update_job as changed
from tests.jobs.test_patch import objects, values, without_nulls

T1, T2 = "2024-01-01T10:00:00.000Z", "2024-01-01T11:00:00.000Z"
CUSTOMER = "0190f3a0-0000-7000-8000-00000000000a"
TAKEN = ("running", "completed", "failed", "cancelled")


def url(job: dict[str, Any]) -> str:
    """Return the job's path."""
    return f"/api/scrape-jobs/{job['id']}"


def read(client: FlaskClient, job: dict[str, Any]) -> dict[str, Any]:
    """Return the job as it is now."""
    data: dict[str, Any] = client.get(url(job)).get_json()["data"]
    return data


def send(
    client: FlaskClient,
    job: dict[str, Any],
    body: dict[str, Any],
    method: str = "PUT",
    **headers: str | None,
) -> TestResponse:
    """Send an update of the job; a header that is None is left out."""
    media_type = "application/json" if method == "PUT" else "application/merge-patch+json"
    given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    return client.open(
        url(job),
        method=method,
        data=json.dumps(body),
        headers={"Content-Type": media_type, **given},
    )


def take(client: FlaskClient, **fields: Any) -> tuple[dict[str, Any], str]:
    """Return a new job that a worker holds, and its lease token."""
    job = make_job(client, **fields)
    body = {"worker_id": "w1", "domains": [job["domain"]]}
    (taken,) = client.post("/api/scrape-jobs/next", json=body).get_json()["data"]
    token = taken.pop("lease_token")
    return taken, token


def job_with_everything(
    client: FlaskClient, status: str, *, leased: bool
) -> tuple[dict[str, Any], str | None]:
    """Return a job in `status` that has a value in every field it can have one in, and its lease
    token."""
    fields: dict[str, Any] = {
        "customer_config_id": CUSTOMER,
        "priority": 7,
        "config": {"depth": 3, "maxConcurrent": 2},
    }
    token = None
    if leased:
        job, token = take(client, **fields, metadata={"tags": ["a"]})
    else:
        job = make_job(
            client, **fields, metadata={"tags": ["a"]}, scheduled_for="2099-01-01T00:00:00.123456Z"
        )
    given = {
        "error_message": "Request timeout",
        "stats": {"pages": 1.5, "deep": {"a": [1, {}]}},
        "retry_count": 1,
    }
    job = changed(client, job, **given)
    for step in {"pending": (), "running": ("running",), "cancelled": ("cancelled",)}.get(
        status, ("running", status)
    ):
        job = changed(client, job, status=step)
    return changed(client, job, started_at=None if status == "pending" else T1), token


JOBS = [(status, False) for status in STATUSES] + [(status, True) for status in TAKEN]


# ------------------------------------------------------------------------------------------------------- unchanged


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("status", "leased"), JOBS)
def test_a_job_sent_back_unchanged_stays(
    client: FlaskClient, method: str, status: str, leased: bool
) -> None:
    job, _ = job_with_everything(client, status, leased=leased)
    before = read_history(client, job["id"])
    answer = send(client, job, job, method)
    assert answer.status_code == 200, answer.text
    after = answer.get_json()["data"]
    assert after == {**job, "updated_at": after["updated_at"]} == read(client, job)
    (event,) = read_history(client, job["id"])[len(before) :]
    assert (event["action"], event["changes"]) == ("updated", {})
    assert event["old_status"] == event["new_status"] == status


@given(
    st.sampled_from(METHODS),
    st.sampled_from(STATUSES),
    objects,
    objects,
    objects,
    st.fixed_dictionaries(
        {},
        optional={
            "error_message": st.none() | st.text("ab ü<&>\n", max_size=8),
            "retry_count": st.integers(0, 4),
            "started_at": st.datetimes().map(lambda at: f"{at.isoformat()}Z"),
        },
    ),
)
@settings(deadline=None, max_examples=60)
def test_any_job_sent_back_unchanged_stays(
    app: Flask,
    method: str,
    status: str,
    metadata: Any,
    config: Any,
    stats: Any,
    fields: dict[str, Any],
) -> None:
    client = app.test_client()
    if method == "PATCH":  # there a null removes its key
        metadata, config, stats = map(without_nulls, (metadata, config, stats))
    job = make_job(client, status, metadata=metadata, config=config)
    job = changed(client, job, stats=stats, **fields)
    answer = send(client, job, job, method)
    assert answer.status_code == 200, answer.text
    after = answer.get_json()["data"]
    assert after == {**job, "updated_at": after["updated_at"]}
    assert read_history(client, job["id"])[-1]["changes"] == {}


def test_a_time_sent_back_keeps_its_precision(client: FlaskClient, database_url: str) -> None:
    job = changed(client, make_job(client, "running"), started_at="2024-01-01T10:00:00.123456Z")
    assert job["started_at"] == "2024-01-01T10:00:00.123Z"
    job = changed(
        client, job, **{**job, "status": "completed", "completed_at": "2024-01-01T10:00:00.124455Z"}
    )
    changed(client, job, **job)
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT completed_at - started_at FROM scrape_jobs WHERE id = %s", (job["id"],)
        )
        assert cursor.fetchall() == [(timedelta(microseconds=999),)]


# ----------------------------------------------------------------------------------------------------- transitions


def comparable(job: dict[str, Any]) -> dict[str, Any]:
    """Return the job without what differs between any two, and with the time of its last change as
    ``now``."""
    unlike = ("id", "domain", "domain_id", "created_at", "updated_at", "lease_expires_at")
    times = {
        name: "now" for name in ("started_at", "completed_at") if job[name] == job["updated_at"]
    }
    return {name: value for name, value in (job | times).items() if name not in unlike}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("with_token", [False, True])
@pytest.mark.parametrize("leased", [False, True])
@pytest.mark.parametrize(("old", "new"), ALLOWED)
def test_whole_job_moves_like_its_status_alone(
    client: FlaskClient, method: str, with_token: bool, leased: bool, old: str, new: str
) -> None:
    if leased and old == "pending":
        return
    answers = []
    for sends_all in (False, True):
        job, token = job_with_everything(client, old, leased=leased)
        body = {**read(client, job), "status": new} if sends_all else {"status": new}
        answers.append(
            send(client, job, body, method, X_Lease_Token=(token or "none") if with_token else None)
        )
    alone, whole = answers
    assert alone.status_code == whole.status_code
    assert (alone.status_code == 200) is (not with_token or (leased and old == "running"))
    if alone.status_code == 200:
        alone_job, whole_job = alone.get_json()["data"], whole.get_json()["data"]
        assert comparable(whole_job) == comparable(alone_job)
        events = [read_history(client, job["id"])[-1] for job in (alone_job, whole_job)]
        assert events[0]["changes"].keys() == events[1]["changes"].keys()
    else:
        assert alone.get_json() == whole.get_json()


@pytest.mark.parametrize("method", METHODS)
def test_null_completed_at_does_not_prevent_completion(client: FlaskClient, method: str) -> None:
    job = make_job(client, "running")
    assert job["completed_at"] is None
    data = send(client, job, {**job, "status": "completed"}, method).get_json()["data"]
    assert data["completed_at"] == data["updated_at"]
    assert data["started_at"] == job["started_at"]


@pytest.mark.parametrize("method", METHODS)
def test_whole_failed_job_is_retried_and_counted(client: FlaskClient, method: str) -> None:
    job, _ = job_with_everything(client, "failed", leased=True)
    data = send(client, job, {**job, "status": "pending"}, method).get_json()["data"]
    cleared = (
        data["error_message"],
        data["stats"],
        data["started_at"],
        data["completed_at"],
        data["worker_id"],
    )
    assert cleared == (None, {}, None, None, None)
    assert data["retry_count"] == job["retry_count"] + 1
    changes = read_history(client, job["id"])[-1]["changes"]
    assert changes["error_message"] == {"from": "Request timeout", "to": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [("error_message", "again"), ("stats", {"resume": 7}), ("retry_count", 0), ("started_at", T2)],
)
def test_retry_keeps_a_field_that_was_changed(client: FlaskClient, field: str, value: Any) -> None:
    job, _ = job_with_everything(client, "failed", leased=False)
    data = changed(client, job, **{**job, "status": "pending", field: value})
    assert data[field] == value


def test_message_that_was_cut_can_be_sent_back(client: FlaskClient) -> None:
    job = changed(
        client, make_job(client, "running"), status="failed", error_message="password=x " * 1000
    )
    assert job["error_message"].endswith("… [truncated]")
    assert changed(client, job, **job)["error_message"] == job["error_message"]
    assert changed(client, job, **{**job, "status": "pending"})["error_message"] is None


def test_retry_endpoint_keeps_the_given_message(client: FlaskClient) -> None:
    job, _ = job_with_everything(client, "failed", leased=False)
    answer = client.post(f"{url(job)}/retry", json={"error_message": job["error_message"]})
    assert answer.get_json()["data"]["error_message"] == job["error_message"]


# ----------------------------------------------------------------------------------------------------------- again


@pytest.mark.parametrize("with_token", [False, True])
@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_whole_job_may_be_ended_again(client: FlaskClient, with_token: bool, status: str) -> None:
    job, token = take(client)
    body = {**job, "status": status, "stats": {"pages": 3}}
    header = token if with_token and status != "cancelled" else None
    first = send(client, job, body, X_Lease_Token=header)
    again = send(client, job, body, X_Lease_Token=header)
    assert (first.status_code, again.status_code) == (200, 200), again.text
    ended = first.get_json()["data"]
    expected = ended["completed_at"] if status != "failed" else None  # a failed job may have no end
    after = again.get_json()["data"]
    assert after == {**ended, "completed_at": expected, "updated_at": after["updated_at"]}


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_final_job_keeps_its_end_without_a_status(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    answer = change(client, job, {"completed_at": None})
    assert answer.status_code == 400
    assert answer.get_json()["error"] == f"Invalid completed_at: must not be null on a {status} job"


# --------------------------------------------------------------------------------------- what moves by itself


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("with_token", [False, True])
def test_a_heartbeat_in_between_refuses_nothing(
    client: FlaskClient, method: str, with_token: bool
) -> None:
    job, token = take(client)
    beat = client.post(f"{url(job)}/heartbeat", headers={"X-Lease-Token": token}).get_json()["data"]
    assert beat["lease_expires_at"] > job["lease_expires_at"]
    answer = send(
        client,
        job,
        {**job, "status": "completed"},
        method,
        X_Lease_Token=token if with_token else None,
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("status", ["completed", "cancelled", "running"])
def test_a_report_in_between_refuses_nothing(client: FlaskClient, status: str) -> None:
    job, token = take(client)
    assert send(client, job, {"stats": {"pages": 1}}, X_Lease_Token=token).status_code == 200
    answer = send(client, job, {**job, "status": status, "metadata": {"seen": 1}})
    assert answer.status_code == 200, answer.text


def test_job_read_while_pending_is_cancelled(client: FlaskClient) -> None:
    job = make_job(client)
    changed(client, job, status="running")
    answer = send(client, job, {**job, "status": "cancelled"})
    assert answer.get_json()["data"]["status"] == "cancelled"


def test_time_that_the_job_never_had_is_refused(client: FlaskClient) -> None:
    job, _ = take(client)
    for field, value in (
        ("updated_at", "2099-01-01T00:00:00.000Z"),
        ("updated_at", "2001-01-01T00:00:00.000Z"),
        ("updated_at", None),
        ("lease_expires_at", "2099-01-01T00:00:00.000Z"),
        ("lease_expires_at", "2001-01-01T00:00:00.000Z"),
        ("allowed_transitions", ["running", "completed"]),
        ("allowed_transitions", None),
    ):
        answer = send(client, job, {**job, field: value})
        assert answer.status_code == 400
        assert answer.get_json()["error"] == f"Invalid {field}: cannot be changed by an update"


def test_job_without_lease_refuses_an_end_of_it(client: FlaskClient) -> None:
    job = make_job(client, "running")
    answer = send(client, job, {"lease_expires_at": T1, "stats": {}})
    assert answer.get_json()["error"] == "Invalid lease_expires_at: cannot be changed by an update"


# ------------------------------------------------------------------------------------------------ fixed fields

OTHER: dict[str, list[Any]] = {
    "id": ["123e4567-e89b-12d3-a456-426614174000", "nobody", 5, None],
    "domain_id": ["123e4567-e89b-12d3-a456-426614174000", "", 5, None],
    "customer_config_id": ["123e4567-e89b-12d3-a456-426614174000", None, "nobody"],
    "domain": ["other.example", "http://x/", None, ["a"]],
    "job_type": ["page_scrape", "", None, 1, False],
    "priority": [8, 99, 7.5, "7", None, True],
    "max_retries": [4, -1, "3", None],
    "config": [{}, {"depth": 3}, {"depth": 3, "maxConcurrent": 2, "more": None}, [], None],
    "created_at": [T1, "never", None, 1],
    "scheduled_for": [T1, "now", 0],
    "worker_id": ["w2", None, 5, False],
}
MOVABLE = {"priority", "max_retries", "config", "scheduled_for"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in OTHER.items() for value in values]
)
def test_fixed_field_with_another_value_is_refused(
    client: FlaskClient, method: str, field: str, value: Any
) -> None:
    if method == "PATCH" and field in MOVABLE:
        return
    job, _ = job_with_everything(client, "running", leased=True)
    before = read_all(client, job["id"])
    answer = send(client, job, {"stats": {"lost": 1}, field: value}, method)
    assert answer.status_code == 400
    failure = answer.get_json()
    assert failure.pop("error") == f"Invalid {field}: cannot be changed by an update"
    hint = f"PATCH changes {field} while the job is pending or failed"
    assert failure == {"success": False} | ({"details": hint} if field in MOVABLE else {})
    assert read_all(client, job["id"]) == before


def test_fixed_fields_are_named_in_order(client: FlaskClient) -> None:
    job = make_job(client)
    body = {
        "worker_id": "w",
        "scheduled_for": T1,
        "priority": 9,
        "domain": "other.example",
        "id": 1,
        "stats": {},
    }
    answer = send(client, job, body)
    assert answer.status_code == 400
    names = ["id", "domain", "priority", "scheduled_for", "worker_id"]
    first, *rest = [f"Invalid {name}: cannot be changed by an update" for name in names]
    hint = "PATCH changes priority, scheduled_for while the job is pending or failed"
    assert answer.get_json() == {
        "success": False,
        "error": first,
        "details": "; ".join([*rest, hint]),
    }


@pytest.mark.parametrize("field", sorted(MOVABLE))
def test_put_of_queue_fields_alone_names_patch(client: FlaskClient, field: str) -> None:
    answer = send(client, make_job(client), {field: 1})
    assert answer.get_json() == {
        "success": False,
        "error": "No updatable fields provided",
        "details": f"PATCH changes {field}",
    }


@pytest.mark.parametrize("method", METHODS)
def test_a_fixed_value_counts_in_every_notation(client: FlaskClient, method: str) -> None:
    job = make_job(client, customer_config_id=CUSTOMER, scheduled_for="2098-12-31T22:30:00.123456Z")
    same = {
        "id": job["id"].upper(),
        "domain_id": job["domain_id"].upper(),
        "customer_config_id": CUSTOMER.upper(),
        "domain": f"{job['domain'].upper()}.",
        "created_at": job["created_at"].replace("Z", "000+00:00"),
        "updated_at": job["updated_at"].replace("Z", ""),
        "scheduled_for": "2099-01-01T00:00:00.123+01:30",
    }
    answer = send(client, job, {**same, "stats": {"a": 1}}, method)
    assert answer.status_code == 200, answer.text
    after = answer.get_json()["data"]
    assert after == {**job, "stats": {"a": 1}, "updated_at": after["updated_at"]}


def test_a_domain_beyond_ascii_is_its_ascii_form(client: FlaskClient) -> None:
    name = new_domain().replace(".example", ".bücher.example")
    job = make_job(client, domain=name)
    assert send(client, job, {"domain": name.upper(), "stats": {"a": 1}}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "expected"),
    [
        ({"If_Match": '"99"'}, "running", (412, "Job was modified")),
        ({"X_Lease_Token": "t"}, "running", (409, "Lease lost")),
        ({}, "completed", (400, "Cannot transition from 'pending' to 'completed'")),
        ({}, "running", (400, "Invalid domain: cannot be changed by an update")),
    ],
)
def test_other_refusals_come_before_fixed_fields(
    client: FlaskClient, headers: dict[str, str], status: str, expected: tuple[int, str]
) -> None:
    job = make_job(client)
    answer = send(client, job, {"status": status, "domain": "other.example"}, **headers)
    assert (answer.status_code, answer.get_json()["error"]) == expected


def test_same_status_is_accepted_in_every_state(client: FlaskClient) -> None:
    for status in FOLLOWING:
        job = make_job(client, status)
        assert changed(client, job, **{**job, "error_message": "noted"})["error_message"] == "noted"


@given(
    st.sampled_from(METHODS),
    st.dictionaries(st.sampled_from(sorted(OTHER)), values, min_size=1, max_size=4),
)
@settings(deadline=None, max_examples=80)
def test_no_fixed_value_makes_an_update_fail(
    app: Flask, method: str, fixed: dict[str, Any]
) -> None:
    client = app.test_client()
    job = make_job(client, "running", config={"a": 1})
    answer = send(client, job, {**fixed, "stats": {"a": 1}}, method)
    if method == "PATCH" and isinstance(fixed.get("config"), dict):
        fixed["config"] = merge_patch(job["config"], fixed["config"])
    same = all(json.dumps(job[name]) == json.dumps(value) for name, value in fixed.items())
    assert answer.status_code == (200 if same else 400), answer.text
