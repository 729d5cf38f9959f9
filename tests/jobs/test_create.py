"""Creation of jobs: fields, defaults, and the response."""

import re
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from support.factories import PATHS, make_job, new_domain
from support.jobs import JOBS, create, listed

REFERENCE_FIELDS = [
    "id", "domain_id", "customer_config_id", "domain", "job_type", "status", "priority", "retry_count", "max_retries",
    "config", "metadata", "started_at", "completed_at", "error_message", "stats", "created_at", "updated_at",
]  # fmt: skip
ADDED_FIELDS = ["scheduled_for", "allowed_transitions", "lease_expires_at", "worker_id"]


def test_domain_is_the_only_required_field(client: FlaskClient) -> None:
    domain = new_domain()
    answer = client.post(JOBS, json={"domain": domain})
    assert answer.status_code == 201
    assert set(answer.get_json()) == {"success", "data"}
    assert answer.get_json()["success"] is True
    job = answer.get_json()["data"]
    assert {
        name: value for name, value in job.items() if name not in ("id", "created_at", "updated_at")
    } == {
        "domain_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, domain)),
        "customer_config_id": None,
        "domain": domain,
        "job_type": "domain_scrape",
        "status": "pending",
        "priority": 5,
        "retry_count": 0,
        "max_retries": 3,
        "config": {},
        "metadata": {},
        "started_at": None,
        "completed_at": None,
        "error_message": None,
        "stats": {},
        "scheduled_for": None,
        "allowed_transitions": ["running", "cancelled"],
        "lease_expires_at": None,
        "worker_id": None,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", job["created_at"])
    assert job["updated_at"] == job["created_at"]


def test_location_and_etag_identify_the_new_job(client: FlaskClient) -> None:
    answer = client.post(JOBS, json={"domain": new_domain()})
    job = answer.get_json()["data"]
    assert answer.headers["Location"] == f"{JOBS}/{job['id']}"
    found = client.get(answer.headers["Location"])
    assert found.get_json() == {"success": True, "data": job}
    assert found.headers["ETag"] == answer.headers["ETag"]


def test_all_given_fields_are_stored(client: FlaskClient) -> None:
    given = {
        "domain": new_domain(),
        "job_type": "e-commerce:full_2.0",
        "priority": 10,
        "max_retries": 0,
        "config": {
            "depth": 3,
            "maxPages": 150,
            "respectRobots": True,
            "userAgent": "CustomBot/1.0",
        },
        "metadata": {
            "tags": ["ecommerce", "high-priority"],
            "nothing": None,
            "nested": {"a": [1, {"b": 2.5}]},
        },
        "domain_id": "456e7890-e89b-12d3-a456-426614174000",
        "customer_config_id": "789e0123-e89b-12d3-a456-426614174000",
        "scheduled_for": "2031-05-06T07:08:09.123Z",
    }
    job = create(client, **given)
    assert {name: job[name] for name in given} == given


def test_new_ids_are_ascending_uuids_of_version_7(client: FlaskClient) -> None:
    answer = client.post(JOBS, json=[{"domain": new_domain()}] * 20)
    ids = [job["id"] for job in answer.get_json()["data"]]
    assert {uuid.UUID(job_id).version for job_id in ids} == {7}
    assert {uuid.UUID(job_id).variant for job_id in ids} == {uuid.RFC_4122}
    assert sorted(set(ids)) == ids


@pytest.mark.parametrize("status", PATHS)
def test_job_has_all_fields_in_every_status(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    shown = client.get(f"{JOBS}/{job['id']}").get_json()["data"]
    assert list(shown) == REFERENCE_FIELDS + ADDED_FIELDS
    assert shown == job
    assert [type(shown[name]) for name in ("config", "metadata", "stats")] == [dict] * 3
    assert shown in listed(client, shown["domain"])


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        ("pending", {}, ["running", "cancelled"]),
        ("running", {}, ["completed", "failed", "cancelled"]),
        ("completed", {}, []),
        ("failed", {}, ["pending", "cancelled"]),
        ("failed", {"max_retries": 0}, ["cancelled"]),
        ("cancelled", {}, []),
    ],
)
def test_allowed_transitions_list_next_statuses(
    client: FlaskClient, status: str, fields: dict[str, Any], expected: list[str]
) -> None:
    assert make_job(client, status, **fields)["allowed_transitions"] == expected


def test_thousand_jobs_are_returned_in_order(client: FlaskClient) -> None:
    domain = new_domain()
    bodies = [{"domain": domain, "priority": n % 10 + 1, "metadata": {"n": n}} for n in range(1000)]
    answer = client.post(JOBS, json=bodies)
    assert answer.status_code == 201
    jobs = answer.get_json()["data"]
    assert [job["metadata"]["n"] for job in jobs] == list(range(1000))
    assert [job["priority"] for job in jobs] == [body["priority"] for body in bodies]
    assert len({job["id"] for job in jobs}) == 1000
    assert client.get(f"{JOBS}/{jobs[999]['id']}").get_json()["data"] == jobs[999]
    created = client.get(f"{JOBS}/{jobs[500]['id']}/history").get_json()["data"]
    assert [entry["action"] for entry in created] == ["created"]


def test_array_of_one_returns_an_array(client: FlaskClient) -> None:
    answer = client.post(JOBS, json=[{"domain": new_domain()}])
    assert answer.status_code == 201
    (job,) = answer.get_json()["data"]
    assert client.get(f"{JOBS}/{job['id']}").get_json()["data"] == job
