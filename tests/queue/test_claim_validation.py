"""The validation of claims and of queries for upcoming jobs."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from support.factories import new_domain
from support.queue import JOBS, data, failure


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 1, "lease_seconds": 5, "wait_seconds": 0},
        {"limit": 100, "lease_seconds": 3600},
        {"worker_id": "x" * 200},
        {"worker_id": " \t w \n "},
        {"domains": [f"d{n}.example" for n in range(200)]},
        {"job_types": [f"t{n}" for n in range(200)]},
        {"job_types": ["a" * 64, "a.b:c-d_e"]},
    ],
    ids=str,
)
def test_values_at_the_limits_are_accepted(client: FlaskClient, fields: dict[str, Any]) -> None:
    body = {"worker_id": "w1", "domains": [new_domain()], **fields}
    assert data(client.post(f"{JOBS}/next", json=body)) == []


MUST = {
    "worker_id": "be 1 to 200 visible characters",
    "job_types": "be null or a list of 1 to 200 job types",
    "domains": "be null or a list of 1 to 200 host names",
    "limit": "be an integer from 1 to 100",
    "lease_seconds": "be an integer from 5 to 3600",
    "wait_seconds": "be an integer from 0 to 20",
}


WRONG: dict[str, list[Any]] = {
    "worker_id": ["", 1, [], {}, True, "\x1b\u202e", "w" * 199 + " w"],
    "job_types": [
        [],
        {},
        1,
        "page",
        [""],
        ["a b"],
        ["a" * 65],
        [None],
        [["a"]],
        ["ü"],
        ["a"] * 201,
    ],
    "domains": [
        [],
        {},
        1,
        "example.com",
        [""],
        ["a b.example"],
        ["example.com:80"],
        ["127.0.0.256"],
        [None],
        ["a"] * 201,
    ],
    "limit": [None, 0, 101, -1, 1.0, "1", True, 10**30, [1]],
    "lease_seconds": [None, 4, 3601, 0, 60.0, "60", False],
    "wait_seconds": [None, -1, 21, 0.5, "0", True],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in WRONG for value in WRONG[field]], ids=repr
)
def test_each_invalid_value_is_explained(client: FlaskClient, field: str, value: Any) -> None:
    body = {"worker_id": "w1", "domains": [new_domain()], field: value}
    assert failure(client.post(f"{JOBS}/next", json=body)) == (
        400,
        f"Invalid {field}: must {MUST[field]}",
        None,
    )


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"worker_id": None}, "Invalid worker_id: must be 1 to 200 visible characters"),
        ({"worker_id": "\u200b "}, "Invalid worker_id: must be 1 to 200 visible characters"),
        ({"worker_id": "x" * 201}, "Invalid worker_id: must be 1 to 200 visible characters"),
        ({"limit": 0}, "Invalid limit: must be an integer from 1 to 100"),
        ({"limit": 101}, "Invalid limit: must be an integer from 1 to 100"),
        ({"limit": True}, "Invalid limit: must be an integer from 1 to 100"),
        ({"lease_seconds": 4}, "Invalid lease_seconds: must be an integer from 5 to 3600"),
        ({"lease_seconds": 3601}, "Invalid lease_seconds: must be an integer from 5 to 3600"),
        ({"wait_seconds": 21}, "Invalid wait_seconds: must be an integer from 0 to 20"),
        ({"wait_seconds": -1}, "Invalid wait_seconds: must be an integer from 0 to 20"),
        ({"domains": []}, "Invalid domains: must be null or a list of 1 to 200 host names"),
        (
            {"domains": ["http://x"]},
            "Invalid domains: must be null or a list of 1 to 200 host names",
        ),
        ({"job_types": "page"}, "Invalid job_types: must be null or a list of 1 to 200 job types"),
        ({"wrker": 1}, "Unknown field: wrker"),
    ],
)
def test_invalid_field_is_named(client: FlaskClient, fields: dict[str, Any], error: str) -> None:
    answer = client.post(
        f"{JOBS}/next", json={"worker_id": "w1", "domains": [new_domain()], **fields}
    )
    assert failure(answer) == (400, error, None)


def test_worker_id_is_required(client: FlaskClient) -> None:
    answer = client.post(f"{JOBS}/next", json={})
    assert failure(answer) == (400, "Invalid worker_id: must be 1 to 200 visible characters", None)


def test_several_faults_are_listed_in_field_order(client: FlaskClient) -> None:
    body = {
        "wait": 1,
        "wait_seconds": 21,
        "lease_seconds": 4,
        "limit": 0,
        "domains": 1,
        "job_types": 1,
    }
    first, *rest = [f"Invalid {field}: must {phrase}" for field, phrase in MUST.items()]
    details = "; ".join([*rest, "Unknown field: wait"])
    assert failure(client.post(f"{JOBS}/next", json=body)) == (400, first, details)


@pytest.mark.parametrize("body", [[], "w1", 1, None, [{"worker_id": "w1"}]])
def test_claim_body_must_be_an_object(client: FlaskClient, body: Any) -> None:
    answer = client.post(f"{JOBS}/next", data=json.dumps(body), content_type="application/json")
    assert failure(answer) == (400, "Invalid body: must be a JSON object", None)


def test_claim_body_must_be_json(client: FlaskClient) -> None:
    assert client.post(f"{JOBS}/next", data="worker_id=w1").status_code == 415
    assert client.post(f"{JOBS}/next", data="{", content_type="application/json").status_code == 400


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", "Invalid limit: must be an integer from 1 to 100"),
        ("limit=101", "Invalid limit: must be an integer from 1 to 100"),
        ("limit=", "Invalid limit: must be an integer from 1 to 100"),
        ("limit=1&limit=2", "Invalid limit: must be given once"),
        ("domains=", "Invalid domains: must be null or a list of 1 to 200 host names"),
        (
            "domains=a.example,,b.example",
            "Invalid domains: must be null or a list of 1 to 200 host names",
        ),
        ("job_types=a%20b", "Invalid job_types: must be null or a list of 1 to 200 job types"),
        ("worker_id=w1", "Unknown field: worker_id"),
    ],
)
def test_invalid_query_for_upcoming_jobs_is_refused(
    client: FlaskClient, query: str, error: str
) -> None:
    assert failure(client.get(f"{JOBS}/next?{query}")) == (400, error, None)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_next_is_not_a_job_id(client: FlaskClient, method: str) -> None:
    assert client.open(f"{JOBS}/next", method=method, json={"status": "running"}).status_code in (
        400,
        405,
    )
