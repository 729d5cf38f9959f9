"""What every answer has in common: its form, its request id, its failures, and no word of what is
inside."""

import http.client
import json
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
from support.factories import make_job, new_domain
from support.service import Service

JOBS = "/api/scrape-jobs"
ID = "123e4567-e89b-12d3-a456-426614174000"
MERGE_PATCH = "application/merge-patch+json"
NO_ROUTE = {"success": False, "error": "Not found", "details": "There is no such route"}
SECRET = "hunter2 at db.internal"

# Each endpoint that asks the database: how it is called, and what it says when the database does
# not do its part.
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
    "history": ("GET", f"{JOBS}/{ID}/history", {}, "Failed to fetch scrape job history"),
}

# Every kind of answer that there is without a job.
ANSWERED = {
    "health": ("GET", "/healthz", {}, 200),
    "list": ("GET", JOBS, {}, 200),
    "created": ("POST", JOBS, {"json": {"domain": "example.com"}}, 201),
    "no route": ("GET", "/nothing", {}, 404),
    "root": ("GET", "/", {}, 404),
    "no job": ("GET", f"{JOBS}/{ID}", {}, 404),
    "no id": ("GET", f"{JOBS}/x", {}, 400),
    "wrong method": ("DELETE", JOBS, {}, 405),
    "no media type": ("POST", JOBS, {"data": "{}"}, 415),
    "no JSON": ("POST", JOBS, {"data": "{", "content_type": "application/json"}, 400),
    "fault": ("POST", JOBS, {"json": {}}, 400),
    "too large": ("POST", JOBS, {"data": b" " * 1048577, "content_type": "application/json"}, 413),
    "bad query": ("GET", f"{JOBS}?limit=0", {}, 400),
    "bad key": ("POST", JOBS, {"json": {}, "headers": {"Idempotency-Key": "a b"}}, 400),
    "options": ("OPTIONS", JOBS, {}, 200),
    "head": ("HEAD", "/healthz", {}, 200),
}


def common(answer: TestResponse) -> dict[str, Any]:
    """Return a failure's body, whose form has to be the common one."""
    assert answer.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = answer.get_json()
    assert {"success", "error"} <= body.keys() <= {"success", "error", "details"}
    assert body["success"] is False
    assert all(type(body[name]) is str and body[name] for name in body.keys() - {"success"})
    return body


def dispose(app: Flask) -> None:
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


# ---------------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    "path",
    [
        "/", "/api", "/api/", "/nothing", "/index.html", "/favicon.ico", "/static/x.css", "/api/scrape-jobs/",
        f"/api/scrape-jobs/{ID}/", f"/api/scrape-jobs/{ID}/history/", f"/api/scrape-jobs/{ID}/nothing",
        f"/api/scrape-jobs//{ID}", "/api//scrape-jobs", "/api/scrape-jobs//", "/API/scrape-jobs", "/api/scrape_jobs",
        "/healthz/", "/api/scrape-jobs/../scrape-jobs", "/%2e%2e/", "/console", "/api/scrape-jobs%2F",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_what_is_no_route_is_not_found(client: FlaskClient, method: str, path: str) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == 404
    assert common(answer) == NO_ROUTE
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "path", ["//", "//api/scrape-jobs", "//api//scrape-jobs//", "/api//scrape-jobs", "//healthz"]
)
def test_leading_double_slashes_give_neither_html_nor_a_redirect(
    service: Service, path: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status in (200, 404)
    assert json.loads(answer.read())["success"] is (answer.status == 200)
    assert answer.headers["Content-Type"] == "application/json"
    assert "Location" not in answer.headers
    connection.close()


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (JOBS, {"GET", "HEAD", "OPTIONS", "POST"}),
        (f"{JOBS}/{ID}", {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}),
        (f"{JOBS}/{ID}/history", {"GET", "HEAD", "OPTIONS"}),
        ("/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("/readyz", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_refused_and_the_right_ones_are_named(
    client: FlaskClient, path: str, allowed: set[str]
) -> None:
    for method in {
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "TRACE",
        "CONNECT",
        "PROPFIND",
        "FOO",
    } - allowed:
        answer = client.open(path, method=method, json={})
        assert answer.status_code == 405
        assert common(answer) == {"success": False, "error": "Method not allowed"}
        assert set(answer.headers["Allow"].split(", ")) == allowed
    options = client.options(path)
    assert (options.status_code, options.data) == (200, b"")
    assert set(options.headers["Allow"].split(", ")) == allowed


def test_a_wrong_method_is_refused_before_the_id_is_looked_at(client: FlaskClient) -> None:
    assert client.post(f"{JOBS}/x").status_code == 405


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", JOBS, f"{JOBS}/{ID}", f"{JOBS}/x", f"{JOBS}/{ID}/history", "/nothing"],
)
def test_head_answers_what_get_does_without_a_body(client: FlaskClient, path: str) -> None:
    url = f"{path}?domain={new_domain()}" if path == JOBS else path
    got, head = client.get(url), client.head(url)
    assert (head.status_code, head.data) == (got.status_code, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


def test_head_of_a_job_tells_its_etag(client: FlaskClient) -> None:
    job = make_job(client)
    head = client.head(f"{JOBS}/{job['id']}")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == client.get(f"{JOBS}/{job['id']}").headers["ETag"]


@pytest.mark.parametrize("name", ANSWERED)
def test_every_answer_carries_the_request_id(client: FlaskClient, name: str) -> None:
    method, path, options, status = ANSWERED[name]
    assert isinstance(options, dict)
    headers = options.get("headers", {})

    def ask(**more: str) -> TestResponse:
        answer = client.open(path, method=method, **{**options, "headers": {**headers, **more}})
        assert answer.status_code == status, answer.text
        return answer

    fit = "A.b_c-" + uuid.uuid4().hex
    assert ask(**{"X-Request-ID": fit}).headers.get_all("X-Request-ID") == [fit]
    own = [ask().headers["X-Request-ID"], ask().headers["X-Request-ID"]]
    assert own[0] != own[1]
    for unfit in ("", "a b", "x" * 129, "ü", "a/b", "<script>", "a,b", "a\x00"):
        replaced = ask(**{"X-Request-ID": unfit}).headers["X-Request-ID"]
        assert replaced != unfit
        assert uuid.UUID(replaced)


@pytest.mark.parametrize("name", [name for name, (*_, status) in ANSWERED.items() if status >= 400])
def test_every_failure_has_the_common_form(client: FlaskClient, name: str) -> None:
    method, path, options, status = ANSWERED[name]
    assert isinstance(options, dict)
    answer = client.open(path, method=method, **options)
    assert answer.status_code == status
    common(answer)


def test_answers_to_changes_carry_the_request_id(client: FlaskClient) -> None:
    url = f"{JOBS}/{make_job(client)['id']}"
    headers = {"X-Request-ID": "mine"}
    answers = [
        client.get(url, headers=headers),
        client.put(url, json={"stats": {}}, headers=headers),
        client.patch(url, data='{"stats": {}}', content_type=MERGE_PATCH, headers=headers),
        client.get(f"{url}/history", headers=headers),
        client.put(url, json={"stats": {}}, headers={**headers, "If-Match": '"0"'}),
        client.put(url, json={"stats": {}}, headers={**headers, "X-Lease-Token": "x"}),
        client.delete(url, headers=headers),
        client.delete(url, headers=headers),
        client.get(url, headers={**headers, "If-None-Match": "*"}),
    ]
    assert [answer.status_code for answer in answers] == [
        200,
        200,
        200,
        200,
        412,
        409,
        200,
        409,
        304,
    ]
    assert [answer.headers["X-Request-ID"] for answer in answers] == ["mine"] * 9


def test_what_is_no_http_is_answered_in_the_common_form(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nBad Header: x\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Type: application/json" in head
    assert b"X-Request-ID: " in head
    answer = json.loads(body)
    assert {"success", "error"} <= answer.keys() <= {"success", "error", "details"}
    assert answer["success"] is False


# ---------------------------------------------------------------------------------------------------------- failures


def family(kind: type[errors.ScrapeJobError]) -> Iterator[type[errors.ScrapeJobError]]:
    for child in kind.__subclasses__():
        yield child
        yield from family(child)


def test_every_exception_of_the_family_has_its_answer() -> None:
    assert set(ERROR_RESPONSES) == set(family(errors.ScrapeJobError))


@pytest.fixture(scope="module")
def nowhere() -> Iterator[Flask]:
    """The application, with a database where nobody listens."""
    app = create_app(
        Settings(
            auth="off",
            rate_limit=False,
            database_url=f"postgresql://{SECRET.split()[0]}:secret@127.0.0.1:1/nothing",
        )
    )
    yield app
    dispose(app)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_without_a_database_each_endpoint_says_so_in_its_own_words(
    nowhere: Flask, name: str
) -> None:
    method, path, options, error = ENDPOINTS[name]
    answer = nowhere.test_client().open(path, method=method, **options)
    assert answer.status_code == 500
    assert common(answer) == {"success": False, "error": error, "details": "Database unavailable"}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_what_is_refused_without_asking_needs_no_database(nowhere: Flask, name: str) -> None:
    method, path, options, _ = ENDPOINTS[name]
    client = nowhere.test_client()
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
    common(answer)


@pytest.fixture
def unmigrated(empty_database: str) -> Iterator[Flask]:
    """The application, with a database that has no tables."""
    app = create_app(Settings(auth="off", rate_limit=False, database_url=empty_database))
    yield app
    dispose(app)


def test_an_error_of_the_database_is_told_without_its_text(unmigrated: Flask) -> None:
    for method, path, options, error in ENDPOINTS.values():
        answer = unmigrated.test_client().open(path, method=method, **options)
        assert answer.status_code == 500
        assert common(answer) == {"success": False, "error": error, "details": "Database error"}


def test_a_row_that_somebody_holds_for_too_long_is_a_lock_timeout(
    app: Flask, database_url: str
) -> None:
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
        for job in jobs.values():  # who only reads does not wait
            assert client.get(f"{JOBS}/{job['id']}").get_json()["data"] == job
        for thread in threads:
            thread.join()
    finally:
        connection.close()
    for name, (_, _, _, error) in calls.items():
        assert answers[name].status_code == 500
        assert common(answers[name]) == {
            "success": False,
            "error": error,
            "details": "Lock timeout",
        }
        assert client.get(f"{JOBS}/{jobs[name]['id']}").get_json()["data"] == jobs[name]


def test_a_database_that_takes_the_call_and_says_nothing_is_a_connection_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        app = create_app(
            Settings(
                auth="off",
                rate_limit=False,
                database_url=f"postgresql://nobody@127.0.0.1:{mute.getsockname()[1]}/nothing",
            )
        )
        answers: list[TestResponse] = []

        def call(name: str) -> None:
            method, path, options, error = ENDPOINTS[name]
            answer = app.test_client().open(path, method=method, **options)
            assert common(answer)["error"] == error
            answers.append(answer)

        threads = [
            threading.Thread(target=call, args=[name]) for name in ("get", "put", "create once")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        dispose(app)
    assert [answer.status_code for answer in answers] == [500] * 3
    assert [common(answer)["details"] for answer in answers] == ["Database connection timeout"] * 3


def test_a_job_that_is_not_there_is_no_failure_of_the_database(client: FlaskClient) -> None:
    for name in ("get", "put", "patch", "delete", "history"):
        method, _, options, _ = ENDPOINTS[name]
        path = f"{JOBS}/{uuid.uuid4()}" + ("/history" if name == "history" else "")
        answer = client.open(path, method=method, **options)
        assert answer.status_code == 404
        assert common(answer) == {"success": False, "error": "Job not found"}


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
def test_an_unexpected_exception_shows_nothing_of_itself(
    database_url: str, exception: Exception
) -> None:
    app = create_app(Settings(auth="off", rate_limit=False, database_url=database_url))

    @operation("Internal server error", is_open=True)
    def boom() -> NoReturn:
        raise exception

    app.add_url_rule("/boom", view_func=boom)
    answer = app.test_client().get("/boom", headers={"X-Request-ID": "mine"})
    dispose(app)
    assert answer.status_code == 500
    assert common(answer) == {
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
def test_any_other_status_keeps_the_common_form_and_says_nothing_of_the_inside(
    database_url: str, status: int
) -> None:
    app = create_app(Settings(auth="off", rate_limit=False, database_url=database_url))

    @operation("Internal server error", is_open=True)
    def refuse() -> NoReturn:
        abort(status, description=f"<b>{SECRET}</b>")

    app.add_url_rule("/refuse", view_func=refuse)
    answer = app.test_client().get("/refuse")
    dispose(app)
    assert answer.status_code == (status if status < 500 else 500)
    common(answer)
    assert "hunter2" not in answer.text
