"""PUT: what each field takes, what stays, what is refused, and on what conditions."""

import json
import uuid
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from support.factories import make_job, read_all, read_history

KIB = 1024
LIMIT = 256 * KIB
FIELDS = (
    "status",
    "error_message",
    "stats",
    "retry_count",
    "started_at",
    "completed_at",
    "metadata",
)
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


def url(job: dict[str, Any]) -> str:
    """Return the job's path."""
    return f"/api/scrape-jobs/{job['id']}"


def put(client: FlaskClient, job: dict[str, Any], body: Any, **headers: str) -> TestResponse:
    """Send the update."""
    return client.put(
        url(job),
        json=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def updated(
    client: FlaskClient, job: dict[str, Any], body: dict[str, Any], **headers: str
) -> dict[str, Any]:
    """Send an update that has to be accepted, and return the job."""
    answer = put(client, job, body, **headers)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.get_json()["data"]
    assert answer.get_json() == {
        "success": True,
        "data": data,
        "message": "Job updated successfully",
    }
    return data


def assert_refused(
    answer: TestResponse, status: int, error: str, details: str | None = None
) -> None:
    """Check that the answer is this failure, with nothing more in it."""
    expected = {"success": False, "error": error}
    assert answer.get_json() == (expected if details is None else {**expected, "details": details})
    assert answer.status_code == status


def lease(database_url: str, job: dict[str, Any], token: str) -> None:
    """Lease the running job to whoever has the token."""
    with (
        closing(psycopg2.connect(database_url)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "UPDATE scrape_jobs SET lease_token = %s, worker_id = 'w', lease_seconds = 3600,"
            " lease_expires_at = now() + interval '1 hour' WHERE id = %s",
            (token, job["id"]),
        )


# ------------------------------------------------------------------------------------------------------------- fields


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
def test_a_field_takes_its_value_and_every_other_field_stays(
    client: FlaskClient, field: str, value: Any
) -> None:
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
def test_what_was_read_can_be_sent_back_in_every_status(client: FlaskClient, status: str) -> None:
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


def test_every_field_of_a_job_is_updatable_or_fixed(client: FlaskClient) -> None:
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
def test_a_name_that_no_job_has_is_refused(client: FlaskClient, name: str) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    assert_refused(put(client, job, {name: 1, "stats": {"lost": 1}}), 400, f"Unknown field: {name}")
    assert read_all(client, job["id"]) == before


def each(field: str, error: str, *values: Any) -> list[tuple[str, Any, str]]:
    """Return a row of the table for every value that the field refuses with this error."""
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
def test_a_value_of_the_wrong_kind_is_refused_and_writes_nothing(
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
def test_of_several_faults_the_first_is_the_error_and_the_rest_are_details(
    client: FlaskClient, body: dict[str, Any], faults: list[str]
) -> None:
    job = make_job(client)
    first, *rest = faults
    answer = client.put(
        url(job), data=json.dumps(body), content_type="application/json"
    )  # in this order
    assert_refused(answer, 400, first, "; ".join(rest))


@pytest.mark.parametrize("body", ["[]", '[{"stats": {}}]', '"running"', "null", "1", "true"])
def test_a_body_that_is_no_object_is_refused(client: FlaskClient, body: str) -> None:
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


def test_a_job_that_does_not_exist_is_not_found(client: FlaskClient) -> None:
    assert_refused(put(client, {"id": uuid.uuid4()}, {"status": "running"}), 404, "Job not found")


@pytest.mark.parametrize(
    "bad", ["1", "{123e4567-e89b-12d3-a456-426614174000}", "123e4567e89b12d3a456426614174000"]
)
def test_what_is_no_uuid_is_refused(client: FlaskClient, bad: str) -> None:
    assert_refused(
        put(client, {"id": bad}, {"status": "running"}), 400, "Invalid id: must be a UUID"
    )


# --------------------------------------------------------------------------------------------------------- timestamps


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
def test_a_timestamp_with_any_offset_comes_out_in_utc(
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
def test_what_is_no_timestamp_is_refused(client: FlaskClient, field: str, value: Any) -> None:
    job = make_job(client)
    error = {"started_at": STARTED_AT, "completed_at": COMPLETED_AT}[field]
    assert_refused(put(client, job, {field: value}), 400, error)
    assert client.get(url(job)).get_json()["data"] == job


def test_an_end_before_the_start_is_accepted(client: FlaskClient) -> None:
    body = {"status": "completed", "started_at": "2024-01-01T12:00:00Z", "completed_at": T1}
    job = updated(client, make_job(client, "running"), body)
    assert (job["started_at"], job["completed_at"]) == ("2024-01-01T12:00:00.000Z", T1)


# ------------------------------------------------------------------------------------------------------ error messages


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
def test_an_error_message_is_sanitised_before_it_is_stored(
    client: FlaskClient, message: str, stored: str
) -> None:
    job = make_job(client, "running")
    assert updated(client, job, {"error_message": message})["error_message"] == stored
    assert read_history(client, job["id"])[-1]["changes"]["error_message"] == {
        "from": None,
        "to": stored,
    }


def test_a_masked_error_message_can_be_sent_back_as_it_was_read(client: FlaskClient) -> None:
    job = make_job(client, "running")
    job = updated(client, job, {"error_message": 'Login with {"password": "hunter2"} failed'})
    assert "hunter2" not in job["error_message"]
    assert updated(client, job, job)["error_message"] == job["error_message"]


# -------------------------------------------------------------------------------------------------------------- sizes


def document(size: int, key: str = "k") -> dict[str, str]:
    """Return an object whose JSON text, with a space after each colon, has so many bytes."""
    return {key: "x" * (size - len(json.dumps({key: ""})))}


@pytest.mark.parametrize("field", ["stats", "metadata"])
def test_a_document_may_have_256_kib(client: FlaskClient, field: str) -> None:
    job = make_job(client)
    assert updated(client, job, {field: document(LIMIT)})[field] == document(LIMIT)


@pytest.mark.parametrize("field", ["stats", "metadata"])
@pytest.mark.parametrize(
    "large", [document(LIMIT + 1), document(3 * LIMIT), {"k": "日" * (LIMIT // 3)}], ids=range(3)
)
def test_a_larger_document_is_refused_and_writes_nothing(
    client: FlaskClient, field: str, large: dict[str, Any]
) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    answer = put(client, job, {field: large, "error_message": "lost"})
    assert_refused(answer, 413, f"Invalid {field}: must hold at most 256 KiB")
    assert read_all(client, job["id"]) == before


def test_metadata_that_grows_too_large_by_merging_is_refused(client: FlaskClient) -> None:
    job = updated(client, make_job(client), {"metadata": document(150 * KIB, "a")})
    before = read_all(client, job["id"])
    answer = put(client, job, {"metadata": document(150 * KIB, "b")})
    assert_refused(answer, 413, "Invalid metadata: must hold at most 256 KiB")
    assert read_all(client, job["id"]) == before
    assert updated(client, job, {"metadata": document(200 * KIB, "a")})["metadata"] == document(
        200 * KIB, "a"
    )


def test_stats_that_take_the_old_ones_place_do_not_add_up(client: FlaskClient) -> None:
    job = updated(client, make_job(client), {"stats": document(150 * KIB, "a")})
    assert updated(client, job, {"stats": document(150 * KIB, "b")})["stats"] == document(
        150 * KIB, "b"
    )


def test_both_documents_may_be_as_large_as_each_alone(client: FlaskClient) -> None:
    body = {"stats": document(LIMIT), "metadata": document(LIMIT)}
    assert put(client, make_job(client), body).status_code == 200


def test_a_body_past_1_mib_is_refused(client: FlaskClient) -> None:
    answer = put(client, make_job(client), {"stats": document(1024 * KIB)})
    assert answer.status_code == 413
    assert answer.get_json()["success"] is False


# --------------------------------------------------------------------------------------------------------- conditions


def test_the_etag_changes_with_every_change_and_with_nothing_else(client: FlaskClient) -> None:
    job = make_job(client)
    tags = [client.get(url(job)).headers["ETag"]]
    for body in (
        {"status": "running"},
        {"stats": {"a": 1}},
        {"metadata": {"a": 1}},
        {"error_message": "x"},
    ):
        answer = put(client, job, body)
        assert client.get(url(job)).headers["ETag"] == answer.headers["ETag"]
        tags.append(answer.headers["ETag"])
    assert put(client, job, {"status": "pending"}).status_code == 400
    assert client.get(url(job)).headers["ETag"] == tags[-1]
    tags.append(client.delete(url(job)).headers["ETag"])
    assert len(set(tags)) == len(tags) == 6
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


@pytest.mark.parametrize(
    "header", ["{tag}", "W/{tag}", '"a", {tag}, "b"', '"99",{tag}', "*", " * ", "{tag} "]
)
def test_an_update_of_the_known_version_is_made(client: FlaskClient, header: str) -> None:
    job = make_job(client)
    tag = client.get(url(job)).headers["ETag"]
    assert updated(client, job, {"stats": {"a": 1}}, If_Match=header.format(tag=tag))["stats"] == {
        "a": 1
    }


@pytest.mark.parametrize(
    "header",
    [
        '"99"',
        'W/"99"',
        '"99", "98"',
        '""',
        '"*"',
        "99",
        "nonsense",
        '"-1"',
        '"1.0"',
        '"0{n}"',
        '" {n}"',
        "{n}",
    ],
)
def test_an_update_of_another_version_is_refused_and_writes_nothing(
    client: FlaskClient, header: str
) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    number = client.get(url(job)).headers["ETag"].strip('"')
    answer = put(client, job, {"stats": {"lost": 1}}, If_Match=header.format(n=number))
    assert_refused(answer, 412, "Job was modified")
    assert read_all(client, job["id"]) == before


def test_a_version_is_good_for_one_update(client: FlaskClient) -> None:
    job = make_job(client)
    tag = client.get(url(job)).headers["ETag"]
    first = put(client, job, {"stats": {"a": 1}}, If_Match=tag)
    assert first.status_code == 200
    assert_refused(put(client, job, {"stats": {"a": 2}}, If_Match=tag), 412, "Job was modified")
    assert put(client, job, {"stats": {"a": 3}}, If_Match=first.headers["ETag"]).status_code == 200


def test_another_version_is_told_before_a_refused_transition(client: FlaskClient) -> None:
    job = make_job(client, "completed")
    assert_refused(
        put(client, job, {"status": "running"}, If_Match='"99"'), 412, "Job was modified"
    )


@pytest.mark.parametrize("header", ["{tag}", "W/{tag}", '"a", {tag}', "*"])
def test_a_known_job_is_not_sent_again(client: FlaskClient, header: str) -> None:
    job = make_job(client)
    tag = client.get(url(job)).headers["ETag"]
    answer = client.get(url(job), headers={"If-None-Match": header.format(tag=tag)})
    assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", tag)


@pytest.mark.parametrize("header", ['"99"', 'W/"99", "98"', "nonsense", ""])
def test_a_job_that_has_changed_is_sent_again(client: FlaskClient, header: str) -> None:
    job = make_job(client)
    answer = client.get(url(job), headers={"If-None-Match": header})
    assert (answer.status_code, answer.get_json()) == (200, {"success": True, "data": job})


def test_a_job_that_does_not_exist_is_not_found_on_any_condition(client: FlaskClient) -> None:
    nobody = {"id": uuid.uuid4()}
    assert_refused(client.get(url(nobody), headers={"If-None-Match": "*"}), 404, "Job not found")
    assert_refused(
        put(client, nobody, {"stats": {}}, If_Match='"1"', X_Lease_Token="t"), 404, "Job not found"
    )


@pytest.mark.parametrize("status", ["pending", "running", "failed", "completed", "cancelled"])
def test_a_token_for_a_job_that_was_never_leased_is_refused_and_writes_nothing(
    client: FlaskClient, status: str
) -> None:
    job = make_job(client, status)
    before = read_all(client, job["id"])
    assert_refused(put(client, job, {"stats": {"lost": 1}}, X_Lease_Token="t"), 409, "Lease lost")
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize("token", ["other", "", "RIGHT", "right ight", "*"])
def test_another_token_than_the_leases_is_refused_and_writes_nothing(
    client: FlaskClient, database_url: str, token: str
) -> None:
    job = make_job(client, "running")
    lease(database_url, job, "right")
    before = read_all(client, job["id"])
    assert_refused(
        put(client, job, {"status": "completed"}, X_Lease_Token=token), 409, "Lease lost"
    )
    assert read_all(client, job["id"]) == before


def test_the_leases_token_is_accepted(client: FlaskClient, database_url: str) -> None:
    job = make_job(client, "running")
    lease(database_url, job, "right")
    assert updated(client, job, {"stats": {"a": 1}}, X_Lease_Token="right")["worker_id"] == "w"
    assert (
        updated(client, job, {"status": "completed"}, X_Lease_Token="right")["status"]
        == "completed"
    )


def test_an_update_without_a_token_needs_no_lease(client: FlaskClient, database_url: str) -> None:
    job = make_job(client, "running")
    lease(database_url, job, "right")
    assert updated(client, job, {"stats": {"a": 1}})["stats"] == {"a": 1}


def test_no_answer_shows_the_token(client: FlaskClient, database_url: str) -> None:
    job = make_job(client, "running")
    lease(database_url, job, "very-secret-token")
    answers = (
        put(client, job, {"stats": {}}),
        client.get(url(job)),
        client.get(f"{url(job)}/history"),
    )
    assert all("very-secret-token" not in answer.text for answer in answers)


def test_a_retried_jobs_old_token_is_worth_nothing(client: FlaskClient, database_url: str) -> None:
    job = make_job(client, "running")
    lease(database_url, job, "right")
    for status in ("failed", "pending", "running"):
        updated(client, job, {"status": status})
    assert_refused(
        put(client, job, {"status": "completed"}, X_Lease_Token="right"), 409, "Lease lost"
    )


# ------------------------------------------------------------------------------------------------------------ history


def test_the_history_tells_who_changed_what_by_which_request(client: FlaskClient) -> None:
    job = make_job(client, metadata={"same": 1, "old": [1]})
    body = {
        "stats": {"pages": 3},
        "metadata": {"same": 1, "old": [2], "new": None},
        "retry_count": 1,
    }
    after = updated(client, job, body, X_Request_ID="request-7")
    assert read_history(client, job["id"])[-1] == {
        "id": 2,
        "at": after["updated_at"],
        "actor": {"type": "anonymous", "id": None, "name": None},
        "request_id": "request-7",
        "action": "updated",
        "old_status": "pending",
        "new_status": "pending",
        "changes": {
            "stats.pages": {"from": None, "to": 3},
            "metadata.old": {"from": [1], "to": [2]},
            "metadata.new": {"from": None, "to": None},
            "retry_count": {"from": 0, "to": 1},
        },
    }


# -------------------------------------------------------------------------------------------------------------- model

FOLLOWING = {
    "pending": ("running", "cancelled"),
    "running": ("completed", "failed", "cancelled"),
    "completed": (),
    "failed": ("pending", "cancelled"),
    "cancelled": (),
}
NOW = "now"

keys = st.text("abä\"'\\.", max_size=2)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(-1e9, 1e9)
    | st.text("xß日😀\n\t\\\"'%", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(keys, json_values, max_size=4)
moments = st.none() | st.sampled_from(
    ["2024-01-01T10:00:00.000Z", "2030-06-01T00:00:00.500Z", "1999-12-31T23:59:59.999Z"]
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(sorted(FOLLOWING)),
        "error_message": st.none() | st.text("ab ü<&>\n", max_size=8),
        "stats": documents,
        "retry_count": st.integers(0, 4),
        "started_at": moments,
        "completed_at": moments,
        "metadata": documents,
    },
).filter(bool)


def model(job: dict[str, Any], body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the job's updatable fields after the body, or None where it has to be refused."""
    old, new = job["status"], body.get("status", job["status"])
    after = dict(job)
    if new != old:
        if new not in FOLLOWING[old] or (
            new == "pending" and job["retry_count"] >= job["max_retries"]
        ):
            return None
        # A value that the job has already counts as absent.
        body = {name: value for name, value in body.items() if value != job[name]}
        if new == "running":
            after["started_at"] = NOW
        elif new == "pending":
            cleared: dict[str, Any] = {
                "started_at": None,
                "completed_at": None,
                "error_message": None,
                "stats": {},
            }
            after |= cleared | {"retry_count": job["retry_count"] + 1}
        else:
            after["completed_at"] = NOW
    elif body.get("status") == old and not FOLLOWING[old] and body.get("completed_at", NOW) is None:
        body = {
            name: value for name, value in body.items() if name != "completed_at"
        }  # ended again
    after |= {**body, "metadata": {**job["metadata"], **body.get("metadata", {})}}
    return None if not FOLLOWING[new] and after["completed_at"] is None else after


@given(documents, st.integers(0, 2), st.lists(bodies, min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_any_sequence_of_updates_does_what_the_model_does(
    app: Flask, metadata: dict[str, Any], max_retries: int, updates: list[dict[str, Any]]
) -> None:
    client = app.test_client()
    job = make_job(client, metadata=metadata, max_retries=max_retries)
    for body in updates:
        expected, answer = model(job, body), put(client, job, body)
        if expected is None:
            assert answer.status_code == 400
        else:
            assert answer.status_code == 200, answer.text
            after = answer.get_json()["data"]
            for name in FIELDS:
                assert after[name] == (
                    after["updated_at"] if expected[name] == NOW else expected[name]
                )
            job = after
        assert client.get(url(job)).get_json()["data"] == job
