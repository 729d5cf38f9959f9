"""Invalid fields of new jobs, and limits of size."""

import json
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.factories import new_domain
from support.jobs import JOBS, create, listed

HOST = "must be a host name such as example.com, without scheme, port or path"
JOB_TYPE = "must be 1 to 64 letters, digits, '_', '.', ':' or '-'"
PRIORITY = "must be an integer from 1 to 10"
MAX_RETRIES = "must be an integer from 0 to 100"
MOMENT = "must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"
KIB_256 = 256 * 1024


def refusal(answer: TestResponse, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.get_json()
    assert body.pop("success") is False
    return body


def document(size: int, letter: str = "x") -> dict[str, str]:
    """Return a document of exactly `size` bytes in the form that PostgreSQL stores."""
    room = size - len(json.dumps({"k": ""}))
    width = len(letter.encode())
    return {"k": letter * (room // width) + "x" * (room % width)}


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
def test_invalid_domain_is_rejected(client: FlaskClient, domain: Any) -> None:
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
def test_error_names_invalid_field(
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
def test_read_only_field_is_rejected(client: FlaskClient, field: str, value: Any) -> None:
    domain = new_domain()
    answer = client.post(JOBS, json={"domain": domain, field: value})
    assert refusal(answer) == {"error": f"Unknown field: {field}"}
    assert listed(client, domain) == []


def test_errors_follow_the_order_of_fields(client: FlaskClient) -> None:
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
def test_document_is_limited_to_256_kib(client: FlaskClient, field: str, letter: str) -> None:
    domain = new_domain()
    escaped = len(json.dumps(letter)) - 2 if letter in '"\\\n' else len(letter.encode())
    fits = {"k": letter * ((KIB_256 - 9) // escaped) + "x" * ((KIB_256 - 9) % escaped)}
    assert len(json.dumps(fits, ensure_ascii=False).encode()) == KIB_256
    assert create(client, **{field: fits})[field] == fits
    answer = client.post(JOBS, json={"domain": domain, field: {"k": fits["k"] + "x"}})
    assert refusal(answer, 413) == {"error": f"Invalid {field}: must hold at most 256 KiB"}
    assert listed(client, domain) == []


@pytest.mark.parametrize("field", ["config", "metadata"])
def test_size_of_document_is_its_stored_size(client: FlaskClient, field: str) -> None:
    # A number such as 1e300 is stored as 301 bytes.
    answer = client.post(JOBS, json={"domain": new_domain(), field: {"k": [1e300] * 1000}})
    assert refusal(answer, 413) == {"error": f"Invalid {field}: must hold at most 256 KiB"}


@pytest.mark.parametrize("count", [0, 1001])
def test_empty_or_oversized_array_is_rejected(client: FlaskClient, count: int) -> None:
    domain = new_domain()
    answer = client.post(JOBS, json=[{"domain": domain}] * count)
    assert refusal(answer) == {"error": "Invalid body: must hold 1 to 1000 jobs"}
    assert listed(client, domain) == []


def test_invalid_job_rejects_the_whole_array(client: FlaskClient) -> None:
    domain = new_domain()
    bodies: list[dict[str, Any]] = [{"domain": domain}] * 6
    bodies[3] = {"domain": "https://example.com"}
    bodies[5] = {"domain": domain, "priority": 11, "job": "x"}
    assert refusal(client.post(JOBS, json=bodies)) == {
        "error": f"Invalid [3].domain: {HOST}",
        "details": f"Invalid [5].priority: {PRIORITY}; Unknown field: [5].job",
    }
    assert listed(client, domain) == []


def test_oversized_document_rejects_the_whole_array(client: FlaskClient) -> None:
    domain = new_domain()
    answer = client.post(
        JOBS, json=[{"domain": domain}, {"domain": domain, "config": document(KIB_256 + 1)}]
    )
    assert answer.status_code == 413
    assert answer.get_json()["error"].endswith("config: must hold at most 256 KiB")
    assert listed(client, domain) == []


@pytest.mark.parametrize("item", [None, 5, "example.com", True, [], [{"domain": "example.com"}]])
def test_error_names_index_of_invalid_item(client: FlaskClient, item: Any) -> None:
    domain = new_domain()
    body = refusal(client.post(JOBS, json=[{"domain": domain}, item]))
    assert "[1]" in body["error"]
    assert listed(client, domain) == []


def test_number_of_listed_errors_is_bounded(client: FlaskClient) -> None:
    body = refusal(client.post(JOBS, json=[{}] * 1000))
    assert body["error"] == f"Invalid [0].domain: {HOST}"
    listed_faults = body["details"].split("; ")
    assert listed_faults[0] == f"Invalid [1].domain: {HOST}"
    assert listed_faults[-1] == f"and {999 - len(listed_faults) + 1} more"
    assert len(body["details"]) < 4096
