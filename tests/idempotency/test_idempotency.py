"""Idempotency keys: a repeated POST is answered as the first one was, and done once."""

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
STORED = "encode(sha256(convert_to(%s, 'UTF8')), 'hex')"
INSERT = f"INSERT INTO idempotency_keys (caller, key, fingerprint, created_at) VALUES ('', {STORED}, '', now())"
AGE = f"UPDATE idempotency_keys SET created_at = now() - %s::interval WHERE key = {STORED}"


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg2.extensions.connection]:
    connection = psycopg2.connect(database_url)
    yield connection
    connection.close()


@pytest.fixture
def execute(connection: psycopg2.extensions.connection) -> Callable[..., None]:
    def execute(statement: str, *parameters: Any) -> None:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    return execute


def new_key() -> str:
    return f"key-{uuid.uuid4().hex}"


def post(client: FlaskClient, key: str, body: Any, **headers: str) -> TestResponse:
    return client.post(JOBS, json=body, headers={"Idempotency-Key": key, **headers})


def listed(client: FlaskClient, domain: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = client.get(JOBS, query_string={"domain": domain}).get_json()[
        "data"
    ]
    return jobs


def known(connection: psycopg2.extensions.connection, key: str) -> bool:
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM idempotency_keys WHERE key = {STORED}", [key])
        return cursor.fetchone() is not None


def is_replay(answer: TestResponse) -> bool:
    return answer.headers.get("Idempotent-Replayed") == "true"


def test_a_repeated_request_gets_the_first_answer_again(client: FlaskClient) -> None:
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
    assert len(listed(client, domain)) == 1


def test_a_replay_tells_what_was_then_though_the_job_went_on(client: FlaskClient) -> None:
    key, body = new_key(), {"domain": new_domain()}
    first = post(client, key, body)
    assert client.put(first.headers["Location"], json={"status": "running"}).status_code == 200
    assert post(client, key, body).data == first.data


def test_a_replay_has_a_request_id_of_its_own(client: FlaskClient) -> None:
    key, body = new_key(), {"domain": new_domain()}
    assert post(client, key, body, **{"X-Request-ID": "one"}).headers["X-Request-ID"] == "one"
    assert post(client, key, body, **{"X-Request-ID": "two"}).headers["X-Request-ID"] == "two"


def test_an_array_is_replayed_whole(client: FlaskClient) -> None:
    key, domain = new_key(), new_domain()
    body = [{"domain": domain, "metadata": {"n": n}} for n in range(25)]
    first, again = post(client, key, body), post(client, key, body)
    assert (first.status_code, again.status_code, again.data) == (201, 201, first.data)
    assert is_replay(again)
    assert len(listed(client, domain)) == 25


@pytest.mark.parametrize("other", [{"priority": 6}, {"metadata": {}}, {"domain": "other.example"}])
def test_another_body_under_the_same_key_is_refused(
    client: FlaskClient, other: dict[str, Any]
) -> None:
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
    assert len(listed(client, domain)) == 1


def test_a_broken_body_under_a_used_key_makes_nothing(client: FlaskClient) -> None:
    key, domain = new_key(), new_domain()
    post(client, key, {"domain": domain})
    answer = client.post(
        JOBS, data=b"{", content_type="application/json", headers={"Idempotency-Key": key}
    )
    assert answer.status_code in (400, 422)
    assert len(listed(client, domain)) == 1


def test_another_key_makes_another_job(client: FlaskClient) -> None:
    body = {"domain": new_domain()}
    first, second = post(client, new_key(), body), post(client, new_key(), body)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.headers["Location"] != second.headers["Location"]
    assert not is_replay(second)


def test_keys_differ_in_case(client: FlaskClient) -> None:
    key, body = new_key(), {"domain": new_domain()}
    assert (
        post(client, key, body).headers["Location"]
        != post(client, key.upper(), body).headers["Location"]
    )


def test_without_a_key_every_request_makes_a_job(client: FlaskClient) -> None:
    body = {"domain": new_domain()}
    assert (
        client.post(JOBS, json=body).headers["Location"]
        != client.post(JOBS, json=body).headers["Location"]
    )


@pytest.mark.parametrize(
    "key", ["", " ", "a b", "x" * 256, "ü", "a\tb", "\x7f", "\x80", "\xff", "a\x00b"]
)
def test_an_unfit_key_is_refused(client: FlaskClient, key: str) -> None:
    domain = new_domain()
    answer = post(client, key, {"domain": domain})
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": "Invalid Idempotency-Key: must be 1 to 255 visible ASCII characters",
    }
    assert listed(client, domain) == []


@pytest.mark.parametrize("sign", ["!", "~", "'", '"', "\\", "%", "%s", "$1", ";", ","])
def test_a_key_may_hold_any_visible_sign(client: FlaskClient, sign: str) -> None:
    key, body = uuid.uuid4().hex + sign, {"domain": new_domain()}
    first, again = post(client, key, body), post(client, key, body)
    assert (first.status_code, again.data, is_replay(again)) == (201, first.data, True)


@pytest.mark.parametrize("length", [1, 255])
def test_a_key_may_have_any_length_up_to_255(
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
def test_a_refused_request_leaves_its_key_free(
    client: FlaskClient, connection: psycopg2.extensions.connection, body: Any, status: int
) -> None:
    key, domain = new_key(), new_domain()
    assert post(client, key, body).status_code == status
    assert not known(connection, key)
    answer = post(client, key, {"domain": domain})
    assert (answer.status_code, is_replay(answer)) == (201, False)
    assert len(listed(client, domain)) == 1


def test_a_body_that_is_no_json_leaves_the_key_free(
    client: FlaskClient, connection: psycopg2.extensions.connection
) -> None:
    key = new_key()
    for content_type, status in (("application/json", 400), ("text/plain", 415)):
        answer = client.post(
            JOBS, data=b"{", content_type=content_type, headers={"Idempotency-Key": key}
        )
        assert answer.status_code == status
        assert not known(connection, key)
    assert post(client, key, {"domain": new_domain()}).status_code == 201


@pytest.mark.parametrize(
    ("age", "replayed"), [("23 hours 59 minutes", True), ("24 hours 1 second", False)]
)
def test_a_key_is_good_for_a_day(
    client: FlaskClient, execute: Callable[..., None], age: str, replayed: bool
) -> None:
    key, domain = new_key(), new_domain()
    first = post(client, key, {"domain": domain})
    execute(AGE, age, key)
    again = post(client, key, {"domain": domain})
    assert (again.status_code, is_replay(again)) == (201, replayed)
    assert (again.headers["Location"] == first.headers["Location"]) is replayed
    assert len(listed(client, domain)) == (1 if replayed else 2)


def test_an_expired_key_may_come_with_another_body_and_is_then_good_for_that(
    client: FlaskClient, execute: Callable[..., None]
) -> None:
    key, one, other = new_key(), {"domain": new_domain()}, {"domain": new_domain()}
    post(client, key, one)
    execute(AGE, "2 days", key)
    second = post(client, key, other)
    assert (second.status_code, is_replay(second)) == (201, False)
    assert post(client, key, other).data == second.data
    assert post(client, key, one).status_code == 422


def test_expired_keys_are_removed_as_new_ones_come(
    client: FlaskClient, connection: psycopg2.extensions.connection, execute: Callable[..., None]
) -> None:
    old = [new_key() for _ in range(5)]
    fresh = new_key()
    post(client, fresh, {"domain": new_domain()})
    for key in old:
        execute(INSERT, key)
        execute(AGE, "100 years", key)
    post(client, new_key(), {"domain": new_domain()})
    assert [key for key in old if known(connection, key)] == []
    assert known(connection, fresh)


def test_an_expired_key_that_somebody_holds_hinders_no_other_request(
    client: FlaskClient, connection: psycopg2.extensions.connection, execute: Callable[..., None]
) -> None:
    held, domain = new_key(), new_domain()
    execute(INSERT, held)
    execute(AGE, "200 years", held)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM idempotency_keys WHERE key = {STORED} FOR UPDATE", [held])
    answer = post(client, new_key(), {"domain": domain})
    connection.rollback()
    execute("DELETE FROM idempotency_keys WHERE key = %s", held)
    assert len(listed(client, domain)) == 1
    assert answer.status_code == 201, answer.text


def test_while_the_first_request_runs_the_second_is_told_to_come_again(
    client: FlaskClient, connection: psycopg2.extensions.connection
) -> None:
    key, domain = new_key(), new_domain()
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [key])
    answer = post(client, key, {"domain": domain})
    assert answer.status_code == 409
    assert answer.get_json()["error"] == "Idempotency-Key is in use"
    assert answer.get_json().keys() <= {"success", "error", "details"}
    assert listed(client, domain) == []
    connection.rollback()
    assert post(client, key, {"domain": domain}).status_code == 201


def test_of_equal_requests_at_one_moment_one_is_done_and_the_others_get_its_answer(
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
    assert len(listed(app.test_client(), domain)) == 1


def test_a_key_means_nothing_to_a_put(client: FlaskClient) -> None:
    job = client.post(JOBS, json={"domain": new_domain()}).headers["Location"]
    for n in (1, 2):
        answer = client.put(job, json={"stats": {"n": n}}, headers={"Idempotency-Key": "of no use"})
        assert (answer.status_code, answer.get_json()["data"]["stats"]) == (200, {"n": n})
