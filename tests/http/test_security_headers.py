"""Response headers for browsers and caches."""

import json
import socket
from http.client import HTTPResponse

import pytest

from support.browser import JOBS, SAFETY_HEADERS, Browser, assert_safe
from support.service import Service


def test_every_answer_has_safety_headers(same_origin_browser: Browser, browser: Browser) -> None:
    for one in (same_origin_browser, browser):
        for status, method, path, sent in [
            *one.requests_of_every_kind(),
            (200, "OPTIONS", JOBS, {"keyless": True}),
        ]:
            answer = one.call(method, path, None, **sent)
            assert answer.status_code == status, (method, path, answer.text)
            assert_safe(dict(answer.headers))
            assert all(
                len(answer.headers.getlist(name)) == 1
                for name in (*SAFETY_HEADERS, "Cache-Control")
            )


def test_caches_may_keep_only_revalidated_jobs(
    same_origin_browser: Browser,
) -> None:
    job = f"{JOBS}/{same_origin_browser.make_job()['id']}"
    assert same_origin_browser.call("GET", job, None).headers["Cache-Control"] == "no-cache"
    assert (
        same_origin_browser.call("GET", job, None, If_None_Match="*").headers["Cache-Control"]
        == "no-cache"
    )
    for path in (JOBS, f"{job}/history", f"{JOBS}/stats", "/api/webhooks", "/healthz"):
        assert same_origin_browser.call("GET", path, None).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n<b>bold</b>: x\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"TRACE /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
    ids=[
        "garbage",
        "version",
        "header name",
        "long line",
        "long header",
        "proper",
        "trace",
        "of all",
    ],
)
def test_answers_of_gunicorn_are_safe(service: Service, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(request_bytes)
        response = HTTPResponse(connection)
        response.begin()
        body = response.read()
    assert_safe(dict(response.headers))
    assert not body or isinstance(json.loads(body)["success"], bool)
