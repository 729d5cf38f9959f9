"""Answers to failures: each in the common form, none with internal texts."""

import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any, NoReturn

import psycopg2
import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import errors
from app.config import Settings
from app.factory import create_app
from app.http.errors import ERROR_RESPONSES
from app.http.operation import operation
from support.application import close
from support.envelope import failure_body
from support.factories import make_job

JOBS = "/api/scrape-jobs"
ID = "123e4567-e89b-12d3-a456-426614174000"
MERGE_PATCH = "application/merge-patch+json"
SECRET = "hunter2 at db.internal"

ENDPOINTS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "list": ("GET", JOBS, {}, "Failed to list scrape jobs"),
    "create": ("POST", JOBS, {"json": {"domain": "example.com"}}, "Failed to create scrape job"),
    "create once": (
        "POST",
        JOBS,
        {"json": {"domain": "example.com"}, "headers": {"Idempotency-Key": "k"}},
        "Failed to create scrape job",
    ),
    "get": ("GET", f"{JOBS}/{ID}", {}, "Failed to fetch scrape job"),
    "put": ("PUT", f"{JOBS}/{ID}", {"json": {"status": "running"}}, "Failed to update scrape job"),
    "patch": (
        "PATCH",
        f"{JOBS}/{ID}",
        {"data": '{"stats": {"a": 1}}', "content_type": MERGE_PATCH},
        "Failed to update scrape job",
    ),
    "delete": ("DELETE", f"{JOBS}/{ID}", {}, "Failed to cancel scrape job"),
    "job stream": ("GET", f"{JOBS}/{ID}/events", {}, "Failed to open the event stream"),
    "history": ("GET", f"{JOBS}/{ID}/history", {}, "Failed to fetch scrape job history"),
}
"""A call of each endpoint that uses the database, and the error when the database fails."""


def subclasses(kind: type[errors.ScrapeJobError]) -> Iterator[type[errors.ScrapeJobError]]:
    """Yield all direct and indirect subclasses."""
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_exception_has_an_answer() -> None:
    assert set(ERROR_RESPONSES) == set(subclasses(errors.ScrapeJobError))


@pytest.fixture(scope="module")
def unreachable() -> Iterator[Flask]:
    """The application, with a database that refuses connections."""
    app = create_app(
        Settings(
            auth="off",
            rate_limit=False,
            database_url=f"postgresql://{SECRET.split()[0]}:secret@127.0.0.1:1/nothing",
        )
    )
    yield app
    close(app)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_each_endpoint_reports_an_unavailable_database(unreachable: Flask, name: str) -> None:
    method, path, options, error = ENDPOINTS[name]
    answer = unreachable.test_client().open(path, method=method, **options)
    assert answer.status_code == 500
    assert failure_body(answer) == {
        "success": False,
        "error": error,
        "details": "Database unavailable",
    }


@pytest.mark.parametrize("name", ENDPOINTS)
def test_invalid_requests_need_no_database(unreachable: Flask, name: str) -> None:
    method, path, options, _ = ENDPOINTS[name]
    client = unreachable.test_client()
    if path == JOBS:
        answer = (
            client.get(f"{JOBS}?limit=0")
            if method == "GET"
            else client.post(JOBS, json={"domain": ""})
        )
        if options.get("headers"):
            return
    else:
        answer = client.open(path.replace(ID, "x"), method=method, **options)
    assert answer.status_code == 400
    failure_body(answer)


@pytest.fixture
def unmigrated(empty_database: str) -> Iterator[Flask]:
    """The application, with a database that has no tables."""
    app = create_app(Settings(auth="off", rate_limit=False, database_url=empty_database))
    yield app
    close(app)


def test_database_error_hides_its_text(unmigrated: Flask) -> None:
    for method, path, options, error in ENDPOINTS.values():
        answer = unmigrated.test_client().open(path, method=method, **options)
        assert answer.status_code == 500
        assert failure_body(answer) == {
            "success": False,
            "error": error,
            "details": "Database error",
        }


def test_locked_row_is_a_lock_timeout(app: Flask, database_url: str) -> None:
    client = app.test_client()
    calls = {name: ENDPOINTS[name] for name in ("put", "patch", "delete")}
    jobs = {name: make_job(client) for name in calls}
    answers: dict[str, TestResponse] = {}

    def call(name: str) -> None:
        method, _, options, _ = calls[name]
        answers[name] = app.test_client().open(
            f"{JOBS}/{jobs[name]['id']}", method=method, **options
        )

    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            for job in jobs.values():
                cursor.execute("SELECT 1 FROM scrape_jobs WHERE id = %s FOR UPDATE", [job["id"]])
        threads = [threading.Thread(target=call, args=[name]) for name in calls]
        for thread in threads:
            thread.start()
        for job in jobs.values():  # reads do not wait
            assert client.get(f"{JOBS}/{job['id']}").get_json()["data"] == job
        for thread in threads:
            thread.join()
    finally:
        connection.close()
    for name, (_, _, _, error) in calls.items():
        assert answers[name].status_code == 500
        assert failure_body(answers[name]) == {
            "success": False,
            "error": error,
            "details": "Lock timeout",
        }
        assert client.get(f"{JOBS}/{jobs[name]['id']}").get_json()["data"] == jobs[name]


def test_silent_database_is_a_connection_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        app = create_app(
            Settings(
                auth="off",
                rate_limit=False,
                database_url=f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/nothing",
            )
        )
        answers: list[TestResponse] = []

        def call(name: str) -> None:
            method, path, options, error = ENDPOINTS[name]
            answer = app.test_client().open(path, method=method, **options)
            assert failure_body(answer)["error"] == error
            answers.append(answer)

        threads = [
            threading.Thread(target=call, args=[name]) for name in ("get", "put", "create once")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        close(app)
    assert [answer.status_code for answer in answers] == [500] * 3
    assert [failure_body(answer)["details"] for answer in answers] == [
        "Database connection timeout"
    ] * 3


def test_missing_job_is_not_a_database_failure(client: FlaskClient) -> None:
    for name in ("get", "put", "patch", "delete", "history"):
        method, _, options, _ = ENDPOINTS[name]
        path = f"{JOBS}/{uuid.uuid4()}" + ("/history" if name == "history" else "")
        answer = client.open(path, method=method, **options)
        assert answer.status_code == 404
        assert failure_body(answer) == {"success": False, "error": "Job not found"}


@pytest.mark.parametrize(
    "exception",
    [
        RuntimeError(SECRET),
        KeyError(SECRET),
        ValueError(SECRET),
        MemoryError(SECRET),
        OSError(5, SECRET),
        AssertionError(SECRET),
    ],
)
def test_unexpected_exception_hides_its_text(database_url: str, exception: Exception) -> None:
    app = create_app(Settings(auth="off", rate_limit=False, database_url=database_url))

    @operation("Internal server error", is_open=True)
    def boom() -> NoReturn:
        raise exception

    app.add_url_rule("/boom", view_func=boom)
    answer = app.test_client().get("/boom", headers={"X-Request-ID": "mine"})
    close(app)
    assert answer.status_code == 500
    assert failure_body(answer) == {
        "success": False,
        "error": "Internal server error",
        "details": "Internal error",
    }
    assert answer.headers["X-Request-ID"] == "mine"
    assert "hunter2" not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    "status",
    [400, 401, 403, 404, 406, 410, 411, 414, 418, 422, 428, 429, 431, 451, 500, 501, 502, 503],
)
def test_any_other_status_has_the_common_form(database_url: str, status: int) -> None:
    app = create_app(Settings(auth="off", rate_limit=False, database_url=database_url))

    @operation("Internal server error", is_open=True)
    def refuse() -> NoReturn:
        abort(status, description=f"<b>{SECRET}</b>")

    app.add_url_rule("/refuse", view_func=refuse)
    answer = app.test_client().get("/refuse")
    close(app)
    assert answer.status_code == (status if status < 500 else 500)
    failure_body(answer)
    assert "hunter2" not in answer.text
