"""Jobs sent back unchanged or with one change."""

from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from support.factories import make_job, read_history
from support.job_changes import (
    ALLOWED,
    METHODS,
    STATUSES,
    T2,
    change_job,
    update_job,
)
from support.patching import objects, without_nulls
from support.write_back import job_with_everything, send, take, url

TAKEN = ("running", "completed", "failed", "cancelled")


def read(client: FlaskClient, job: dict[str, Any]) -> dict[str, Any]:
    """Return the current job."""
    data: dict[str, Any] = client.get(url(job)).get_json()["data"]
    return data


JOBS = [(status, False) for status in STATUSES] + [(status, True) for status in TAKEN]


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
    if method == "PATCH":  # in PATCH null removes the key
        metadata, config, stats = map(without_nulls, (metadata, config, stats))
    job = make_job(client, status, metadata=metadata, config=config)
    job = update_job(client, job, stats=stats, **fields)
    answer = send(client, job, job, method)
    assert answer.status_code == 200, answer.text
    after = answer.get_json()["data"]
    assert after == {**job, "updated_at": after["updated_at"]}
    assert read_history(client, job["id"])[-1]["changes"] == {}


def test_a_time_sent_back_keeps_its_precision(client: FlaskClient, database_url: str) -> None:
    job = update_job(client, make_job(client, "running"), started_at="2024-01-01T10:00:00.123456Z")
    assert job["started_at"] == "2024-01-01T10:00:00.123Z"
    job = update_job(
        client, job, **{**job, "status": "completed", "completed_at": "2024-01-01T10:00:00.124455Z"}
    )
    update_job(client, job, **job)
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT completed_at - started_at FROM scrape_jobs WHERE id = %s", (job["id"],)
        )
        assert cursor.fetchall() == [(timedelta(microseconds=999),)]


def comparable(job: dict[str, Any]) -> dict[str, Any]:
    """Return the job without its unique fields, and its last change as ``now``."""
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
    data = update_job(client, job, **{**job, "status": "pending", field: value})
    assert data[field] == value


def test_truncated_message_can_be_sent_back(client: FlaskClient) -> None:
    job = update_job(
        client, make_job(client, "running"), status="failed", error_message="password=x " * 1000
    )
    assert job["error_message"].endswith("… [truncated]")
    assert update_job(client, job, **job)["error_message"] == job["error_message"]
    assert update_job(client, job, **{**job, "status": "pending"})["error_message"] is None


def test_retry_endpoint_keeps_the_given_message(client: FlaskClient) -> None:
    job, _ = job_with_everything(client, "failed", leased=False)
    answer = client.post(f"{url(job)}/retry", json={"error_message": job["error_message"]})
    assert answer.get_json()["data"]["error_message"] == job["error_message"]


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
    expected = (
        ended["completed_at"] if status != "failed" else None
    )  # a failed job may have no completed_at
    after = again.get_json()["data"]
    assert after == {**ended, "completed_at": expected, "updated_at": after["updated_at"]}


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_final_job_keeps_completed_at_without_status(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    answer = change_job(client, job, {"completed_at": None})
    assert answer.status_code == 400
    assert answer.get_json()["error"] == f"Invalid completed_at: must not be null on a {status} job"
