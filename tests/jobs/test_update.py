"""Fields of PUT, timestamps and error messages."""

import json
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from support.factories import make_job, read_all, read_history
from support.updates import FIELDS, assert_refused, put, updated, url

T1 = "2024-01-01T10:00:00.000Z"
STATUS = "Invalid status: must be one of pending, running, completed, failed, cancelled"
ERROR_MESSAGE = "Invalid error_message: must be a string"
STATS = "Invalid stats: must be an object"
RETRY_COUNT = "Invalid retry_count: must be a non-negative integer"
STARTED_AT = "Invalid started_at: must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"
COMPLETED_AT = (
    "Invalid completed_at: must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"
)
METADATA = "Invalid metadata: must be an object"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("error_message", "Request timeout"),
        ("error_message", ""),
        ("error_message", None),
        ("stats", {"pagesProcessed": 75, "deep": {"a": [1, None, {"b": 0.5}]}}),
        ("stats", {}),
        ("retry_count", 0),
        ("retry_count", 2),
        ("retry_count", 4),
        ("retry_count", 2**31 - 1),
        ("started_at", T1),
        ("started_at", None),
        ("completed_at", T1),
        ("completed_at", None),
        ("metadata", {"kept": 1, "new": "2"}),
    ],
)
def test_update_changes_only_the_given_field(client: FlaskClient, field: str, value: Any) -> None:
    job = updated(
        client,
        make_job(client, "running", metadata={"kept": 1}, config={"depth": 3}, priority=7),
        {
            "error_message": "old",
            "stats": {"old": 1},
            "retry_count": 1,
            "completed_at": "2023-01-01T00:00:00Z",
        },
    )
    after = updated(client, job, {field: value})
    assert after == {**job, field: value, "updated_at": after["updated_at"]}
    assert client.get(url(job)).get_json()["data"] == after


def test_the_documents_own_example_works(client: FlaskClient) -> None:
    job = make_job(client, "running", metadata={"source": "api", "tags": ["ecommerce"]})
    body = {
        "status": "running",
        "metadata": {"updatedBy": "system", "notes": "Job restarted due to timeout"},
        "stats": {"pagesProcessed": 75, "successfulRequests": 70, "failedRequests": 5},
        "error_message": None,
        "started_at": "2024-01-01T11:00:00.000Z",
    }
    data = updated(client, job, body)
    assert data["metadata"] == {"source": "api", "tags": ["ecommerce"], **body["metadata"]}  # type: ignore[dict-item]
    assert {name: data[name] for name in body if name != "metadata"} == {
        name: value for name, value in body.items() if name != "metadata"
    }


def test_stats_take_the_old_ones_place(client: FlaskClient) -> None:
    job = updated(
        client, make_job(client, "running"), {"stats": {"a": 1, "deep": {"b": 2, "c": 3}}}
    )
    assert updated(client, job, {"stats": {"deep": {"b": 4}}})["stats"] == {"deep": {"b": 4}}


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 3}, {"a": 3, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3}}),
        ({"tags": ["a", "b"]}, {"tags": ["c"]}, {"tags": ["c"]}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": None}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"": 2, "a.b": 3, "ä\n\"'\\": 4}, {"a": 1, "": 2, "a.b": 3, "ä\n\"'\\": 4}),
    ],
)
def test_metadata_is_merged_at_its_top_level(
    client: FlaskClient, old: Any, new: Any, merged: Any
) -> None:
    assert updated(client, make_job(client, metadata=old), {"metadata": new})["metadata"] == merged


def test_what_was_read_can_be_sent_back(client: FlaskClient) -> None:
    job = updated(
        client,
        make_job(client, "failed", metadata={"a": 1}),
        {"error_message": "x", "stats": {"b": 2}},
    )
    after = updated(client, job, job)
    assert after == {**job, "updated_at": after["updated_at"]}


@pytest.mark.parametrize("status", ["pending", "running", "completed", "failed", "cancelled"])
def test_job_can_be_sent_back_in_every_status(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    after = updated(client, job, job)
    assert after == {**job, "updated_at": after["updated_at"]}


FIXED = {
    "id": str(uuid.uuid4()),
    "domain_id": 5,
    "customer_config_id": "nobody",
    "domain": "other.example",
    "job_type": None,
    "priority": 99,
    "max_retries": -1,
    "config": [],
    "created_at": "never",
    "updated_at": "now",
    "scheduled_for": "now",
    "allowed_transitions": ["completed"],
    "lease_expires_at": 1,
    "worker_id": "me",
}


def test_every_field_is_updatable_or_fixed(client: FlaskClient) -> None:
    assert set(make_job(client)) == {*FIXED, *FIELDS}


@pytest.mark.parametrize(
    "body", [{}, {"domain": "other.example"}, FIXED], ids=["empty", "one", "all"]
)
def test_a_body_with_nothing_updatable_is_refused(client: FlaskClient, body: Any) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    assert_refused(put(client, job, body), 400, "No updatable fields provided")
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize(
    "name", ["statuss", "Status", "status ", "", "version", "lease_token", "_schema", "a.b", "été"]
)
def test_unknown_field_is_rejected(client: FlaskClient, name: str) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    assert_refused(put(client, job, {name: 1, "stats": {"lost": 1}}), 400, f"Unknown field: {name}")
    assert read_all(client, job["id"]) == before


def each(field: str, error: str, *values: Any) -> list[tuple[str, Any, str]]:
    """Return a test case for each value that the field rejects with this error."""
    return [(field, value, error) for value in values]


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        *each(
            "status", STATUS, "paused", "", "RUNNING", " running", None, 1, True, ["running"], {}
        ),
        *each("error_message", ERROR_MESSAGE, 1, True, ["x"], {"a": 1}),
        *each("stats", STATS, None, [], [{}], "{}", 1, True),
        *each(
            "retry_count",
            RETRY_COUNT,
            -1,
            2**31,
            2**63,
            10**30,
            1.0,
            1.5,
            True,
            False,
            "1",
            "",
            None,
            [1],
            {},
        ),
        *each("metadata", METADATA, None, [], "{}", 1, False),
    ],
)
def test_invalid_value_writes_nothing(
    client: FlaskClient, field: str, value: Any, error: str
) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    body = {"stats": {"lost": 1}, "metadata": {"lost": 1}, field: value}
    assert_refused(put(client, job, body), 400, error)
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        (
            {
                "metadata": 1,
                "completed_at": 1,
                "started_at": 1,
                "retry_count": -1,
                "stats": 1,
                "error_message": 1,
            }
            | {"status": 1},
            [STATUS, ERROR_MESSAGE, STATS, RETRY_COUNT, STARTED_AT, COMPLETED_AT, METADATA],
        ),
        ({"metadata": 1, "status": "running", "retry_count": "3"}, [RETRY_COUNT, METADATA]),
        ({"statuss": 1, "metadata": 1, "domain": 1}, [METADATA, "Unknown field: statuss"]),
        (dict.fromkeys("zbqaxm", 1), [f"Unknown field: {name}" for name in "zbqaxm"]),
    ],
)
def test_first_fault_is_error_others_are_details(
    client: FlaskClient, body: dict[str, Any], faults: list[str]
) -> None:
    job = make_job(client)
    first, *rest = faults
    answer = client.put(
        url(job), data=json.dumps(body), content_type="application/json"
    )  # in this order
    assert_refused(answer, 400, first, "; ".join(rest))


@pytest.mark.parametrize("body", ["[]", '[{"stats": {}}]', '"running"', "null", "1", "true"])
def test_body_must_be_an_object(client: FlaskClient, body: str) -> None:
    answer = client.put(url(make_job(client)), data=body, content_type="application/json")
    assert_refused(answer, 400, "Invalid body: must be a JSON object")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/merge-patch+json", "application/jsonp", None]
)
def test_another_media_type_is_refused(client: FlaskClient, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = client.put(url(make_job(client)), data='{"stats": {}}', headers=headers)
    assert_refused(answer, 415, "Unsupported media type", "Content-Type must be application/json")


def test_the_media_type_may_have_parameters(client: FlaskClient) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert (
        client.put(url(make_job(client)), data='{"stats": {}}', headers=headers).status_code == 200
    )


def test_missing_job_is_not_found(client: FlaskClient) -> None:
    assert_refused(put(client, {"id": uuid.uuid4()}, {"status": "running"}), 404, "Job not found")


@pytest.mark.parametrize(
    "bad", ["1", "{123e4567-e89b-12d3-a456-426614174000}", "123e4567e89b12d3a456426614174000"]
)
def test_invalid_id_is_rejected(client: FlaskClient, bad: str) -> None:
    assert_refused(
        put(client, {"id": bad}, {"status": "running"}), 400, "Invalid id: must be a UUID"
    )


@pytest.mark.parametrize("field", ["started_at", "completed_at"])
@pytest.mark.parametrize(
    ("given_text", "stored"),
    [
        (T1, T1),
        ("2024-01-01T10:00:00Z", T1),
        ("2024-01-01T10:00Z", T1),
        ("2024-01-01T10:00:00", T1),
        ("2024-01-01T12:00:00+02:00", T1),
        ("2024-01-01T12:00:00.000+0200", T1),
        ("2024-01-01T05:00:00-05:00", T1),
        ("2024-01-01T10:00:00-00:00", T1),
        ("2024-01-01t10:00:00z", T1),
        ("2024-02-29T23:59:59.999-11:30", "2024-03-01T11:29:59.999Z"),
        ("2024-01-01T10:00:00.1Z", "2024-01-01T10:00:00.100Z"),
        ("2024-01-01T10:00:00.123456Z", "2024-01-01T10:00:00.123Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_timestamps_are_returned_in_utc(
    client: FlaskClient, field: str, given_text: str, stored: str
) -> None:
    assert updated(client, make_job(client), {field: given_text})[field] == stored


@pytest.mark.parametrize("field", ["started_at", "completed_at"])
@pytest.mark.parametrize(
    "value",
    [
        "now", "today", "epoch", "infinity", "-infinity", "", " ", "null", "2024-01-01", "2024-01", "10:00:00",
        "2024-02-30T10:00:00Z", "2024-13-01T10:00:00Z", "2024-01-01T25:00:00Z", "2024-01-01T10:61:00Z",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "10000-01-01T00:00:00Z",
        "2024-01-01T10:00:00 Europe/Berlin", "2024-01-01T10:00:00Zulu", "2024-01-01T10:00:00+25:00",
        " 2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z\n", "２０２４-01-01T10:00:00Z", "01/02/2024 10:00", "1704103200",
        1704103200, 1704103200.5, 0, True, [T1], {"at": T1},
    ],
)  # fmt: skip
def test_invalid_timestamp_is_rejected(client: FlaskClient, field: str, value: Any) -> None:
    job = make_job(client)
    error = {"started_at": STARTED_AT, "completed_at": COMPLETED_AT}[field]
    assert_refused(put(client, job, {field: value}), 400, error)
    assert client.get(url(job)).get_json()["data"] == job


def test_an_end_before_the_start_is_accepted(client: FlaskClient) -> None:
    body = {"status": "completed", "started_at": "2024-01-01T12:00:00Z", "completed_at": T1}
    job = updated(client, make_job(client, "running"), body)
    assert (job["started_at"], job["completed_at"]) == ("2024-01-01T12:00:00.000Z", T1)


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        ("line 1\n\tline 2", "line 1\n\tline 2"),
        ("a\r\x1b[31m\u202e\u200b\u0085b", "a[31mb"),
        ("<script>alert('&')</script>", "<script>alert('&')</script>"),
        ("GET https://user:password@example.com/x failed", "GET https://***@example.com/x failed"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("?api_key=abc&token=def&password=ghi", "?api_key=***&token=***&password=***"),
        ("x" * 4096, "x" * 4096),
        ("x" * 4097, "x" * 4096 + "… [truncated]"),
        ("日" * 5000, "日" * 4096 + "… [truncated]"),
    ],
    ids=range(9),
)
def test_error_message_is_sanitised(client: FlaskClient, message: str, stored: str) -> None:
    job = make_job(client, "running")
    assert updated(client, job, {"error_message": message})["error_message"] == stored
    assert read_history(client, job["id"])[-1]["changes"]["error_message"] == {
        "from": None,
        "to": stored,
    }


def test_masked_error_message_can_be_sent_back(client: FlaskClient) -> None:
    job = make_job(client, "running")
    job = updated(client, job, {"error_message": 'Login with {"password": "hunter2"} failed'})
    assert "hunter2" not in job["error_message"]
    assert updated(client, job, job)["error_message"] == job["error_message"]
