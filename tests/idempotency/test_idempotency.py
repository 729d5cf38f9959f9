"""Idempotency keys: a repeated POST takes effect once and gets the first response again."""

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.factories import new_domain

JOBS = "/api/scrape-jobs"
STORED_KEY = "encode(sha256(convert_to(%s, 'UTF8')), 'hex')"
INSERT = f"""
    INSERT INTO idempotency_keys (caller, key, fingerprint, created_at)
    VALUES ('', {STORED_KEY}, '', now())
"""
SET_AGE = f"UPDATE idempotency_keys SET created_at = now() - %s::interval WHERE key = {STORED_KEY}"


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg2.extensions.connection]:
    """A connection to the database."""
    connection = psycopg2.connect(database_url)
    yield connection
    connection.close()


@pytest.fixture
def execute(connection: psycopg2.extensions.connection) -> Callable[..., None]:
    """A function that executes a statement and commits."""

    def execute(statement: str, *parameters: Any) -> None:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    return execute


def new_key() -> str:
    return f"key-{uuid.uuid4().hex}"


def post(client: FlaskClient, key: str, body: Any, **headers: str) -> TestResponse:
    return client.post(JOBS, json=body, headers={"Idempotency-Key": key, **headers})


def jobs_of(client: FlaskClient, domain: str) -> list[dict[str, Any]]:
    """Return the jobs of a domain."""
    answer = client.get(JOBS, query_string={"domain": domain})
    jobs: list[dict[str, Any]] = answer.get_json()["data"]
    return jobs


def is_stored(connection: psycopg2.extensions.connection, key: str) -> bool:
    """Return whether the key is stored as used."""
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM idempotency_keys WHERE key = {STORED_KEY}", [key])
        return cursor.fetchone() is not None


def is_replay(answer: TestResponse) -> bool:
    return answer.headers.get("Idempotent-Replayed") == "true"


def test_repeated_request_gets_the_first_response(client: FlaskClient) -> None:
    key, domain = new_key(), new_domain()
    body = {"domain": domain, "metadata": {"name": "Bücher \U0001f600"}}
    first = post(client, key, body)
    assert first.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    for _ in range(2):
        again = post(client, key, body)
        assert is_replay(again)
        assert (again.status_code, again.data, again.mimetype) == (
            201,
            first.data,
            "application/json",
        )
        assert again.headers["Location"] == first.headers["Location"]
        assert again.headers["ETag"] == first.headers["ETag"]
    assert len(jobs_of(client, domain)) == 1


def test_replay_ignores_later_changes_of_the_job(client: FlaskClient) -> None:
    key, body = new_key(), {"domain": new_domain()}
    first = post(client, key, body)
    assert client.put(first.headers["Location"], json={"status": "running"}).status_code == 200
    assert post(client, key, body).data == first.data


def test_replay_has_its_own_request_id(client: FlaskClient) -> None:
    key, body = new_key(), {"domain": new_domain()}
    assert post(client, key, body, **{"X-Request-ID": "one"}).headers["X-Request-ID"] == "one"
    assert post(client, key, body, **{"X-Request-ID": "two"}).headers["X-Request-ID"] == "two"


def test_array_is_replayed_completely(client: FlaskClient) -> None:
    key, domain = new_key(), new_domain()
    body = [{"domain": domain, "metadata": {"n": n}} for n in range(25)]
    first, again = post(client, key, body), post(client, key, body)
    assert (first.status_code, again.status_code, again.data) == (201, 201, first.data)
    assert is_replay(again)
    assert len(jobs_of(client, domain)) == 25


@pytest.mark.parametrize("other", [{"priority": 6}, {"metadata": {}}, {"domain": "other.example"}])
def test_other_body_with_the_key_is_refused(client: FlaskClient, other: dict[str, Any]) -> None:
    key, domain = new_key(), new_domain()
    body = {"domain": domain, "priority": 5}
    first = post(client, key, body)
    answer = post(client, key, {**body, **other})
    assert answer.status_code == 422
    assert answer.get_json() == {
        "success": False,
        "error": "Idempotency-Key was used with a different request",
    }
    assert not is_replay(answer)
    assert post(client, key, body).data == first.data
    assert len(jobs_of(client, domain)) == 1


def test_malformed_body_with_used_key_creates_nothing(client: FlaskClient) -> None:
    key, domain = new_key(), new_domain()
    post(client, key, {"domain": domain})
    answer = client.post(
        JOBS, data=b"{", content_type="application/json", headers={"Idempotency-Key": key}
    )
    assert answer.status_code in (400, 422)
    assert len(jobs_of(client, domain)) == 1


def test_another_key_creates_another_job(client: FlaskClient) -> None:
    body = {"domain": new_domain()}
    first, second = post(client, new_key(), body), post(client, new_key(), body)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.headers["Location"] != second.headers["Location"]
    assert not is_replay(second)


def test_keys_are_case_sensitive(client: FlaskClient) -> None:
    key, body = new_key(), {"domain": new_domain()}
    assert (
        post(client, key, body).headers["Location"]
        != post(client, key.upper(), body).headers["Location"]
    )


def test_without_key_every_request_creates_a_job(client: FlaskClient) -> None:
    body = {"domain": new_domain()}
    assert (
        client.post(JOBS, json=body).headers["Location"]
        != client.post(JOBS, json=body).headers["Location"]
    )


@pytest.mark.parametrize(
    "key", ["", " ", "a b", "x" * 256, "ü", "a\tb", "\x7f", "\x80", "\xff", "a\x00b"]
)
def test_malformed_key_is_refused(client: FlaskClient, key: str) -> None:
    domain = new_domain()
    answer = post(client, key, {"domain": domain})
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": "Invalid Idempotency-Key: must be 1 to 255 visible ASCII characters",
    }
    assert jobs_of(client, domain) == []


@pytest.mark.parametrize("character", ["!", "~", "'", '"', "\\", "%", "%s", "$1", ";", ","])
def test_key_may_hold_any_visible_character(client: FlaskClient, character: str) -> None:
    key, body = uuid.uuid4().hex + character, {"domain": new_domain()}
    first, again = post(client, key, body), post(client, key, body)
    assert (first.status_code, again.data, is_replay(again)) == (201, first.data, True)


@pytest.mark.parametrize("length", [1, 255])
def test_key_may_have_255_characters(
    client: FlaskClient, execute: Callable[..., None], length: int
) -> None:
    key, body = uuid.uuid4().hex[:1] + "k" * (length - 1), {"domain": new_domain()}
    execute("DELETE FROM idempotency_keys WHERE key = %s", key)
    assert post(client, key, body).status_code == 201
    assert is_replay(post(client, key, body))
    execute("DELETE FROM idempotency_keys WHERE key = %s", key)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"domain": "127.0.0.256"}, 400),
        ({}, 400),
        ([], 400),
        ([{"domain": "example.com"}, {}], 400),
        ({"domain": "example.com", "config": {"k": "x" * 300_000}}, 413),
    ],
)
def test_refused_request_leaves_its_key_unused(
    client: FlaskClient, connection: psycopg2.extensions.connection, body: Any, status: int
) -> None:
    key, domain = new_key(), new_domain()
    assert post(client, key, body).status_code == status
    assert not is_stored(connection, key)
    answer = post(client, key, {"domain": domain})
    assert (answer.status_code, is_replay(answer)) == (201, False)
    assert len(jobs_of(client, domain)) == 1


def test_malformed_body_leaves_its_key_unused(
    client: FlaskClient, connection: psycopg2.extensions.connection
) -> None:
    key = new_key()
    for content_type, status in (("application/json", 400), ("text/plain", 415)):
        answer = client.post(
            JOBS, data=b"{", content_type=content_type, headers={"Idempotency-Key": key}
        )
        assert answer.status_code == status
        assert not is_stored(connection, key)
    assert post(client, key, {"domain": new_domain()}).status_code == 201


@pytest.mark.parametrize(
    ("age", "replayed"), [("23 hours 59 minutes", True), ("24 hours 1 second", False)]
)
def test_key_is_valid_for_24_hours(
    client: FlaskClient, execute: Callable[..., None], age: str, replayed: bool
) -> None:
    key, domain = new_key(), new_domain()
    first = post(client, key, {"domain": domain})
    execute(SET_AGE, age, key)
    again = post(client, key, {"domain": domain})
    assert (again.status_code, is_replay(again)) == (201, replayed)
    assert (again.headers["Location"] == first.headers["Location"]) is replayed
    assert len(jobs_of(client, domain)) == (1 if replayed else 2)


def test_expired_key_can_be_used_again(client: FlaskClient, execute: Callable[..., None]) -> None:
    key, one, other = new_key(), {"domain": new_domain()}, {"domain": new_domain()}
    post(client, key, one)
    execute(SET_AGE, "2 days", key)
    second = post(client, key, other)
    assert (second.status_code, is_replay(second)) == (201, False)
    assert post(client, key, other).data == second.data
    assert post(client, key, one).status_code == 422


def test_new_keys_remove_expired_ones(
    client: FlaskClient, connection: psycopg2.extensions.connection, execute: Callable[..., None]
) -> None:
    old = [new_key() for _ in range(5)]
    fresh = new_key()
    post(client, fresh, {"domain": new_domain()})
    for key in old:
        execute(INSERT, key)
        execute(SET_AGE, "100 years", key)
    post(client, new_key(), {"domain": new_domain()})
    assert [key for key in old if is_stored(connection, key)] == []
    assert is_stored(connection, fresh)


def test_locked_expired_key_blocks_no_request(
    client: FlaskClient, connection: psycopg2.extensions.connection, execute: Callable[..., None]
) -> None:
    locked, domain = new_key(), new_domain()
    execute(INSERT, locked)
    execute(SET_AGE, "200 years", locked)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM idempotency_keys WHERE key = {STORED_KEY} FOR UPDATE", [locked]
        )
    answer = post(client, new_key(), {"domain": domain})
    connection.rollback()
    execute("DELETE FROM idempotency_keys WHERE key = %s", locked)
    assert len(jobs_of(client, domain)) == 1
    assert answer.status_code == 201, answer.text


def test_key_of_a_running_request_is_refused(
    client: FlaskClient, connection: psycopg2.extensions.connection
) -> None:
    key, domain = new_key(), new_domain()
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [key])
    answer = post(client, key, {"domain": domain})
    assert answer.status_code == 409
    assert answer.get_json()["error"] == "Idempotency-Key is in use"
    assert answer.get_json().keys() <= {"success", "error", "details"}
    assert jobs_of(client, domain) == []
    connection.rollback()
    assert post(client, key, {"domain": domain}).status_code == 201


def test_simultaneous_requests_take_effect_once(
    app: Flask,
) -> None:
    key, domain = new_key(), new_domain()
    start = threading.Barrier(6, timeout=30)
    answers: list[TestResponse] = []

    def ask() -> None:
        client = app.test_client()
        start.wait()
        answers.append(post(client, key, {"domain": domain}))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.data for answer in answers}) == 1
    assert sum(is_replay(answer) for answer in answers) == 5
    assert len(jobs_of(app.test_client(), domain)) == 1


def test_put_ignores_keys(client: FlaskClient) -> None:
    job = client.post(JOBS, json={"domain": new_domain()}).headers["Location"]
    for n in (1, 2):
        answer = client.put(job, json={"stats": {"n": n}}, headers={"Idempotency-Key": "of no use"})
        assert (answer.status_code, answer.get_json()["data"]["stats"]) == (200, {"n": n})
