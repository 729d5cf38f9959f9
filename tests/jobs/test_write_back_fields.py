"""Fixed fields and fields that change by themselves in jobs sent back."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from app.jobs.merge_patch import merge_patch
from support.factories import make_job, new_domain, read_all
from support.job_changes import (
    FOLLOWING,
    METHODS,
    T1,
    update_job,
)
from support.patching import values
from support.write_back import CUSTOMER, job_with_everything, send, take, url


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
    update_job(client, job, status="running")
    answer = send(client, job, {**job, "status": "cancelled"})
    assert answer.get_json()["data"]["status"] == "cancelled"


def test_other_time_is_rejected(client: FlaskClient) -> None:
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


def test_job_without_lease_rejects_lease_expiry(client: FlaskClient) -> None:
    job = make_job(client, "running")
    answer = send(client, job, {"lease_expires_at": T1, "stats": {}})
    assert answer.get_json()["error"] == "Invalid lease_expires_at: cannot be changed by an update"


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


def test_non_ascii_domain_is_its_ascii_form(client: FlaskClient) -> None:
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
        assert (
            update_job(client, job, **{**job, "error_message": "noted"})["error_message"] == "noted"
        )


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
