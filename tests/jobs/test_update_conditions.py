"""Preconditions of PUT: versions and lease tokens."""

import uuid
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient

from support.factories import make_job, read_all
from support.updates import assert_refused, put, updated, url


def lease(database_url: str, job: dict[str, Any], token: str) -> None:
    """Give the running job a lease with the token."""
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


def test_etag_changes_exactly_with_the_job(client: FlaskClient) -> None:
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
def test_update_of_current_version_succeeds(client: FlaskClient, header: str) -> None:
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
def test_update_of_other_version_writes_nothing(client: FlaskClient, header: str) -> None:
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


def test_version_is_checked_before_the_transition(client: FlaskClient) -> None:
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
def test_changed_job_is_sent_again(client: FlaskClient, header: str) -> None:
    job = make_job(client)
    answer = client.get(url(job), headers={"If-None-Match": header})
    assert (answer.status_code, answer.get_json()) == (200, {"success": True, "data": job})


def test_missing_job_is_not_found_with_conditions(client: FlaskClient) -> None:
    nobody = {"id": uuid.uuid4()}
    assert_refused(client.get(url(nobody), headers={"If-None-Match": "*"}), 404, "Job not found")
    assert_refused(
        put(client, nobody, {"stats": {}}, If_Match='"1"', X_Lease_Token="t"), 404, "Job not found"
    )


@pytest.mark.parametrize("status", ["pending", "running", "failed", "completed", "cancelled"])
def test_token_without_lease_writes_nothing(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    before = read_all(client, job["id"])
    assert_refused(put(client, job, {"stats": {"lost": 1}}, X_Lease_Token="t"), 409, "Lease lost")
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize("token", ["other", "", "RIGHT", "right ight", "*"])
def test_wrong_lease_token_writes_nothing(
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


def test_update_without_token_needs_no_lease(client: FlaskClient, database_url: str) -> None:
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


def test_token_is_invalid_after_a_retry(client: FlaskClient, database_url: str) -> None:
    job = make_job(client, "running")
    lease(database_url, job, "right")
    for status in ("failed", "pending", "running"):
        updated(client, job, {"status": status})
    assert_refused(
        put(client, job, {"status": "completed"}, X_Lease_Token="right"), 409, "Lease lost"
    )
