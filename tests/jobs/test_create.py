"""Creating jobs: one or many, what they start with, and what is refused of them."""

import json
import re
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.factories import PATHS, make_job, new_domain

JOBS = "/api/scrape-jobs"
HOST = "must be a host name such as example.com, without scheme, port or path"
JOB_TYPE = "must be 1 to 64 letters, digits, '_', '.', ':' or '-'"
PRIORITY = "must be an integer from 1 to 10"
MAX_RETRIES = "must be an integer from 0 to 100"
MOMENT = "must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"
REFERENCE_FIELDS = [
    "id", "domain_id", "customer_config_id", "domain", "job_type", "status", "priority", "retry_count", "max_retries",
    "config", "metadata", "started_at", "completed_at", "error_message", "stats", "created_at", "updated_at",
]  # fmt: skip
ADDED_FIELDS = ["scheduled_for", "allowed_transitions", "lease_expires_at", "worker_id"]
KIB_256 = 256 * 1024


def create(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    answer = client.post(JOBS, json={"domain": new_domain(), **fields})
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.get_json()["data"]
    return job


def refusal(answer: TestResponse, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.get_json()
    assert body.pop("success") is False
    return body


def listed(client: FlaskClient, domain: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = client.get(
        JOBS, query_string={"domain": domain, "limit": 200}
    ).get_json()["data"]
    return jobs


def document(size: int, letter: str = "x") -> dict[str, str]:
    """Return a document that takes exactly `size` bytes as PostgreSQL writes it."""
    room = size - len(json.dumps({"k": ""}))
    width = len(letter.encode())
    return {"k": letter * (room // width) + "x" * (room % width)}


def test_a_job_needs_no_more_than_a_domain(client: FlaskClient) -> None:
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


def test_location_leads_to_the_new_job_and_its_etag_fits(client: FlaskClient) -> None:
    answer = client.post(JOBS, json={"domain": new_domain()})
    job = answer.get_json()["data"]
    assert answer.headers["Location"] == f"{JOBS}/{job['id']}"
    found = client.get(answer.headers["Location"])
    assert found.get_json() == {"success": True, "data": job}
    assert found.headers["ETag"] == answer.headers["ETag"]


def test_every_field_that_may_be_given_is_kept(client: FlaskClient) -> None:
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


def test_new_ids_are_uuids_of_version_7_and_rise(client: FlaskClient) -> None:
    answer = client.post(JOBS, json=[{"domain": new_domain()}] * 20)
    ids = [job["id"] for job in answer.get_json()["data"]]
    assert {uuid.UUID(job_id).version for job_id in ids} == {7}
    assert {uuid.UUID(job_id).variant for job_id in ids} == {uuid.RFC_4122}
    assert sorted(set(ids)) == ids


@pytest.mark.parametrize("status", PATHS)
def test_a_job_has_every_field_in_every_status(client: FlaskClient, status: str) -> None:
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
def test_allowed_transitions_tell_what_may_follow(
    client: FlaskClient, status: str, fields: dict[str, Any], expected: list[str]
) -> None:
    assert make_job(client, status, **fields)["allowed_transitions"] == expected


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.EXAMPLE.", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("例え.テスト。", "xn--r8jz45g.xn--zckzah"),
        ("ｅｘａｍｐｌｅ．com", "example.com"),
        ("localhost", "localhost"),
        ("a-b.c-d.example", "a-b.c-d.example"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("4chan.example", "4chan.example"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
        (".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
    ],
)
def test_a_domain_is_normalised(client: FlaskClient, given: str, stored: str) -> None:
    job = create(client, domain=given)
    assert job["domain"] == stored
    assert job["domain_id"] == str(uuid.uuid5(uuid.NAMESPACE_DNS, stored))


@pytest.mark.parametrize(
    "domain",
    [
        "https://example.com",
        "//example.com",
        "http:example.com",
        "example.com:8080",
        "example.com/",
        "example.com/path",
        "example.com?q",
        "example.com#top",
        "user@example.com",
        "exa mple.com",
        "example .com",
        "exa\tmple.com",
        "example\u00a0.com",
        "exa\nmple.com",
        "127.0.0.1..",
        "[::1]:80",
        "",
        " ",
        ".",
        "..",
        "example.com..",
        "xn--\u00fc.example",
        "exam%2fple.com",
        "'; DROP TABLE scrape_jobs; --.example",
        "a" * 1001,
        "a" * 100_000,
        None,
        7,
        True,
        ["example.com"],
        {"name": "example.com"},
    ],
)
def test_what_is_no_host_name_is_refused(client: FlaskClient, domain: Any) -> None:
    assert refusal(client.post(JOBS, json={"domain": domain})) == {
        "error": f"Invalid domain: {HOST}"
    }


def wrong(field: str, complaint: str, *values: Any) -> list[tuple[str, Any, str]]:
    return [(field, value, complaint) for value in values]


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        *wrong("job_type", JOB_TYPE, "", "a b", "ä", "a/b", "a\n", "x" * 65, None, 3, True, [], {}),
        *wrong("priority", PRIORITY, 0, 11, -1, 2**31, 2**63, 5.0, 5.5, "5", True, None, [5], {}),
        *wrong("max_retries", MAX_RETRIES, -1, 101, 2**31, 3.0, "3", False, None, [], {}),
        *wrong("config", "must be an object", None, [], "{}", 0, True, "x"),
        *wrong("metadata", "must be an object", None, [["a", 1]], "{}", 1, False),
        *wrong("domain_id", "must be a UUID", None, "", "7", 7, True, "g" * 36, "-" * 36, "a" * 32),
        *wrong(
            "customer_config_id", "must be a UUID",
            "", 0, "{789e0123-e89b-12d3-a456-426614174000}", "789e0123e89b12d3a456426614174000",
        ),
        *wrong(
            "scheduled_for", MOMENT,
            "", "soon", "2024-01-01", 1704067200, True, [], "2024-13-01T00:00:00Z", "2024-02-30T00:00:00Z",
            "2024-01-01T25:00:00Z", "2024-01-01T00:00:00+99:00", "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z", "infinity", "now",
        ),
    ],
)  # fmt: skip
def test_a_field_with_a_wrong_value_is_named(
    client: FlaskClient, field: str, value: Any, complaint: str
) -> None:
    domain = new_domain()
    answer = client.post(JOBS, json={"domain": domain, field: value})
    assert refusal(answer) == {"error": f"Invalid {field}: {complaint}"}
    assert listed(client, domain) == []


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    [
        ("job_type", "x" * 64, "x" * 64),
        ("job_type", "A", "A"),
        ("priority", 1, 1),
        ("priority", 10, 10),
        ("max_retries", 0, 0),
        ("max_retries", 100, 100),
        (
            "domain_id",
            "456E7890-E89B-12D3-A456-426614174000",
            "456e7890-e89b-12d3-a456-426614174000",
        ),
        (
            "domain_id",
            "00000000-0000-0000-0000-000000000000",
            "00000000-0000-0000-0000-000000000000",
        ),
        ("customer_config_id", None, None),
        (
            "customer_config_id",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ),
        ("scheduled_for", None, None),
        ("scheduled_for", "2030-01-01T10:00:00+02:00", "2030-01-01T08:00:00.000Z"),
        ("scheduled_for", "2030-01-01T10:00:00-0330", "2030-01-01T13:30:00.000Z"),
        ("scheduled_for", "2030-01-01T10:00:00", "2030-01-01T10:00:00.000Z"),
        ("scheduled_for", "2030-01-01t10:00:00.5z", "2030-01-01T10:00:00.500Z"),
        ("scheduled_for", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("scheduled_for", "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_value_at_its_limit_is_taken(
    client: FlaskClient, field: str, given: Any, stored: Any
) -> None:
    assert create(client, **{field: given})[field] == stored


@pytest.mark.parametrize(
    "field",
    [
        "id", "status", "retry_count", "started_at", "completed_at", "error_message", "stats", "created_at",
        "updated_at", "allowed_transitions", "lease_expires_at", "worker_id", "lease_token", "version", "prioritty",
        "Domain", "", "_schema", "__proto__",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [None, "pending"])
def test_a_field_that_may_not_be_given_is_refused(
    client: FlaskClient, field: str, value: Any
) -> None:
    domain = new_domain()
    answer = client.post(JOBS, json={"domain": domain, field: value})
    assert refusal(answer) == {"error": f"Unknown field: {field}"}
    assert listed(client, domain) == []


def test_of_several_faults_the_first_in_field_order_comes_first(client: FlaskClient) -> None:
    body = {
        "typo": 1,
        "scheduled_for": "x",
        "config": [],
        "priority": 0,
        "max_retries": -1,
        "job_type": "",
    }
    assert refusal(client.post(JOBS, json=body)) == {
        "error": f"Invalid domain: {HOST}",
        "details": f"Invalid job_type: {JOB_TYPE}; Invalid priority: {PRIORITY}; Invalid max_retries: {MAX_RETRIES};"
        f" Invalid config: must be an object; Invalid scheduled_for: {MOMENT}; Unknown field: typo",
    }


@pytest.mark.parametrize("field", ["config", "metadata"])
@pytest.mark.parametrize("letter", ["x", "ü", "€", "\U0001f600", '"', "\\", "\n"])
def test_a_document_may_hold_256_kib_and_not_a_byte_more(
    client: FlaskClient, field: str, letter: str
) -> None:
    domain = new_domain()
    escaped = len(json.dumps(letter)) - 2 if letter in '"\\\n' else len(letter.encode())
    fits = {"k": letter * ((KIB_256 - 9) // escaped) + "x" * ((KIB_256 - 9) % escaped)}
    assert len(json.dumps(fits, ensure_ascii=False).encode()) == KIB_256
    assert create(client, **{field: fits})[field] == fits
    answer = client.post(JOBS, json={"domain": domain, field: {"k": fits["k"] + "x"}})
    assert refusal(answer, 413) == {"error": f"Invalid {field}: must hold at most 256 KiB"}
    assert listed(client, domain) == []


@pytest.mark.parametrize("field", ["config", "metadata"])
def test_a_document_is_measured_as_it_is_stored(client: FlaskClient, field: str) -> None:
    # A number such as 1e300 takes 301 bytes once it is stored.
    answer = client.post(JOBS, json={"domain": new_domain(), field: {"k": [1e300] * 1000}})
    assert refusal(answer, 413) == {"error": f"Invalid {field}: must hold at most 256 KiB"}


def test_a_thousand_jobs_are_made_at_once_and_answered_in_their_order(client: FlaskClient) -> None:
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


def test_an_array_of_one_answers_an_array_of_one(client: FlaskClient) -> None:
    answer = client.post(JOBS, json=[{"domain": new_domain()}])
    assert answer.status_code == 201
    (job,) = answer.get_json()["data"]
    assert client.get(f"{JOBS}/{job['id']}").get_json()["data"] == job


@pytest.mark.parametrize("count", [0, 1001])
def test_an_array_holds_neither_nothing_nor_too_many(client: FlaskClient, count: int) -> None:
    domain = new_domain()
    answer = client.post(JOBS, json=[{"domain": domain}] * count)
    assert refusal(answer) == {"error": "Invalid body: must hold 1 to 1000 jobs"}
    assert listed(client, domain) == []


def test_one_bad_job_keeps_all_of_an_array_from_being_made(client: FlaskClient) -> None:
    domain = new_domain()
    bodies: list[dict[str, Any]] = [{"domain": domain}] * 6
    bodies[3] = {"domain": "https://example.com"}
    bodies[5] = {"domain": domain, "priority": 11, "job": "x"}
    assert refusal(client.post(JOBS, json=bodies)) == {
        "error": f"Invalid [3].domain: {HOST}",
        "details": f"Invalid [5].priority: {PRIORITY}; Unknown field: [5].job",
    }
    assert listed(client, domain) == []


def test_one_document_too_large_keeps_all_of_an_array_from_being_made(client: FlaskClient) -> None:
    domain = new_domain()
    answer = client.post(
        JOBS, json=[{"domain": domain}, {"domain": domain, "config": document(KIB_256 + 1)}]
    )
    assert answer.status_code == 413
    assert answer.get_json()["error"].endswith("config: must hold at most 256 KiB")
    assert listed(client, domain) == []


@pytest.mark.parametrize("item", [None, 5, "example.com", True, [], [{"domain": "example.com"}]])
def test_what_is_no_object_in_an_array_is_refused_with_its_place(
    client: FlaskClient, item: Any
) -> None:
    domain = new_domain()
    body = refusal(client.post(JOBS, json=[{"domain": domain}, item]))
    assert "[1]" in body["error"]
    assert listed(client, domain) == []


def test_of_very_many_faults_the_first_are_listed_and_the_rest_counted(client: FlaskClient) -> None:
    body = refusal(client.post(JOBS, json=[{}] * 1000))
    assert body["error"] == f"Invalid [0].domain: {HOST}"
    listed_faults = body["details"].split("; ")
    assert listed_faults[0] == f"Invalid [1].domain: {HOST}"
    assert listed_faults[-1] == f"and {999 - len(listed_faults) + 1} more"
    assert len(body["details"]) < 4096
