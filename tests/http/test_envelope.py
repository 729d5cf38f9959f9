"""The form that all answers share: envelope, request id, allowed methods."""

import http.client
import json
import socket
import uuid

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.envelope import failure_body
from support.factories import make_job, new_domain
from support.service import Service

JOBS = "/api/scrape-jobs"
ID = "123e4567-e89b-12d3-a456-426614174000"
MERGE_PATCH = "application/merge-patch+json"
NO_ROUTE = {"success": False, "error": "Not found", "details": "There is no such route"}

CALLS = {
    "health": ("GET", "/healthz", {}, 200),
    "list": ("GET", JOBS, {}, 200),
    "created": ("POST", JOBS, {"json": {"domain": "example.com"}}, 201),
    "no route": ("GET", "/nothing", {}, 404),
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
"""A call for each kind of answer that needs no job, with its status."""


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/nothing",
        "/index.html",
        "/favicon.ico",
        "/static/x.css",
        "/api/scrape-jobs/",
        f"/api/scrape-jobs/{ID}/",
        f"/api/scrape-jobs/{ID}/history/",
        f"/api/scrape-jobs/{ID}/nothing",
        f"/api/scrape-jobs//{ID}",
        "/api//scrape-jobs",
        "/api/scrape-jobs//",
        "/API/scrape-jobs",
        "/api/scrape_jobs",
        "/healthz/",
        "/api/scrape-jobs/../scrape-jobs",
        "/%2e%2e/",
        "/console",
        "/api/scrape-jobs%2F",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_unknown_route_is_not_found(client: FlaskClient, method: str, path: str) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == 404
    assert failure_body(answer) == NO_ROUTE
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "path", ["//api/scrape-jobs", "//api//scrape-jobs//", "/api//scrape-jobs", "//healthz"]
)
def test_double_slashes_give_no_html_or_redirect(service: Service, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
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
def test_wrong_method_is_refused_with_allowed_ones(
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
        assert failure_body(answer) == {"success": False, "error": "Method not allowed"}
        assert set(answer.headers["Allow"].split(", ")) == allowed
    options = client.options(path)
    assert (options.status_code, options.data) == (200, b"")
    assert set(options.headers["Allow"].split(", ")) == allowed


def test_wrong_method_is_refused_before_the_id(client: FlaskClient) -> None:
    assert client.post(f"{JOBS}/x").status_code == 405


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", JOBS, f"{JOBS}/{ID}", f"{JOBS}/x", f"{JOBS}/{ID}/history", "/nothing"],
)
def test_head_answers_like_get_without_body(client: FlaskClient, path: str) -> None:
    url = f"{path}?domain={new_domain()}" if path == JOBS else path
    got, head = client.get(url), client.head(url)
    assert (head.status_code, head.data) == (got.status_code, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


def test_head_of_a_job_has_its_etag(client: FlaskClient) -> None:
    job = make_job(client)
    head = client.head(f"{JOBS}/{job['id']}")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == client.get(f"{JOBS}/{job['id']}").headers["ETag"]


@pytest.mark.parametrize("name", CALLS)
def test_every_answer_has_the_request_id(client: FlaskClient, name: str) -> None:
    method, path, options, status = CALLS[name]
    assert isinstance(options, dict)
    headers = options.get("headers", {})

    def ask(**more: str) -> TestResponse:
        answer = client.open(path, method=method, **{**options, "headers": {**headers, **more}})
        assert answer.status_code == status, answer.text
        return answer

    valid = "A.b_c-" + uuid.uuid4().hex
    assert ask(**{"X-Request-ID": valid}).headers.get_all("X-Request-ID") == [valid]
    own = [ask().headers["X-Request-ID"], ask().headers["X-Request-ID"]]
    assert own[0] != own[1]
    for invalid in ("", "a b", "x" * 129, "ü", "a/b", "<script>", "a,b", "a\x00"):
        replaced = ask(**{"X-Request-ID": invalid}).headers["X-Request-ID"]
        assert replaced != invalid
        assert uuid.UUID(replaced)


@pytest.mark.parametrize("name", [name for name, (*_, status) in CALLS.items() if status >= 400])
def test_every_failure_has_the_common_form(client: FlaskClient, name: str) -> None:
    method, path, options, status = CALLS[name]
    assert isinstance(options, dict)
    answer = client.open(path, method=method, **options)
    assert answer.status_code == status
    failure_body(answer)


def test_answers_to_changes_have_the_request_id(client: FlaskClient) -> None:
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


def test_malformed_http_is_answered_in_common_form(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
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
