"""Browsers: which pages of other origins may call, and what every answer says of how it has to be
treated."""

import json
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings, SettingsError
from app.factory import create_app
from app.http.operation import operation
from support.service import Service

JOBS = "/api/scrape-jobs"
NO_ID = "0190f3a0-0000-7000-8000-000000000000"
PAGE, OTHER_PAGE, LOCAL_PAGE = (
    "https://app.example.com",
    "https://admin.example.org",
    "http://localhost:5173",
)
SENT = (
    "Authorization",
    "Content-Type",
    "If-Match",
    "Idempotency-Key",
    "X-Lease-Token",
    "X-Request-ID",
)
READ = {
    "etag", "location", "retry-after", "x-request-id", "idempotent-replayed", "ratelimit-limit", "ratelimit-remaining",
    "ratelimit-reset",
}  # fmt: skip
STRANGERS = (
    "https://evil.example",
    "https://app.example.com.evil.com",
    "https://app.example.com:8443",
    "https://app.example.com:443",
    "https://app.example.com/",
    "https://app.example.com/page",
    "https://appXexample.com",
    "https://appXexampleXcom",
    "https://app.exampleXcom",
    "https://evil.app.example.com",
    "https://evilapp.example.com",
    "https://app.example.co",
    "https://app.example.comm",
    "https://example.com",
    "http://app.example.com",
    "https://app.example.com https://evil.example",
    "https://evil.example, https://app.example.com",
    "https://app.example.com@evil.example",
    "https://evil.example#https://app.example.com",
    " ",
    "null",
    "*",
    ".*",
    "https://.*",
    "http://localhost",
    "http://localhost:51730",
    "file://",
    "app.example.com",
)
"""Origins that are not named, though some look like it."""

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def make_app(url: str, *origins: str, **more: Any) -> Flask:
    app = create_app(
        Settings(**{"database_url": url, "rate_limit": False, "cors_origins": origins, **more})
    )

    @app.get("/breaks")
    @operation("It broke", is_open=True)
    def breaks() -> str:
        raise ZeroDivisionError

    return app


def dispose(app: Flask) -> None:
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


class Browser:
    """Calls an application as a page's script does, with a key where the page has one."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()
        with app.app_context():
            self.key = str(keys.create("a page's key", [Scope.ALL], None, None)[0])

    def call(
        self,
        method: str,
        path: str,
        origin: str | None,
        json: Any = None,
        *,
        keyless: bool = False,
        **named: str,
    ) -> TestResponse:
        headers = {name.replace("_", "-"): value for name, value in named.items()}
        headers.update({} if origin is None else {"Origin": origin})
        headers.update({} if keyless else {"Authorization": f"Bearer {self.key}"})
        return self.client.open(path, method=method, json=json, headers=headers)

    def preflight(self, path: str, origin: str | None, method: str, *sent: str) -> TestResponse:
        named = {"Access_Control_Request_Method": method}
        if sent:
            named["Access_Control_Request_Headers"] = ",".join(
                sent
            ).lower()  # as browsers write them
        return self.call("OPTIONS", path, origin, keyless=True, **named)


@pytest.fixture(
    scope="module", params=[(PAGE,), (PAGE, OTHER_PAGE, LOCAL_PAGE)], ids=["one", "three"]
)
def browser(request: pytest.FixtureRequest, database_url: str) -> Iterator[Browser]:
    """A browser before a service that one origin, or three, may call."""
    app = make_app(database_url, *request.param)
    yield Browser(app)
    dispose(app)


@pytest.fixture(scope="module")
def plain(database_url: str) -> Iterator[Browser]:
    """A browser before a service that no other origin may call."""
    app = make_app(database_url)
    yield Browser(app)
    dispose(app)


def grants(answer: TestResponse) -> dict[str, str]:
    """Return what an answer grants to pages of other origins."""
    return {
        name.lower(): value
        for name, value in answer.headers
        if name.lower().startswith("access-control-")
    }


def words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",")}


def make_job(browser: Browser) -> dict[str, Any]:
    job: dict[str, Any] = browser.call("POST", JOBS, None, {"domain": "cors.example"}).get_json()[
        "data"
    ]
    return job


def every_kind(browser: Browser) -> list[tuple[int, str, str, dict[str, Any]]]:
    """Return requests that are answered in every way there is: status, method, path, and what comes
    with it."""
    job = f"{JOBS}/{make_job(browser)['id']}"
    return [
        (200, "GET", "/healthz", {}),
        (200, "GET", "/readyz", {}),
        (200, "GET", "/metrics", {}),
        (200, "GET", JOBS, {}),
        (200, "HEAD", job, {}),
        (200, "GET", job, {}),
        (304, "GET", job, {"If_None_Match": "*"}),
        (200, "PUT", job, {"json": {"status": "running"}}),
        (
            200,
            "PATCH",
            job,
            {"json": {"stats": {}}, "Content_Type": "application/merge-patch+json"},
        ),
        (200, "DELETE", job, {}),
        (201, "POST", JOBS, {"json": {"domain": "cors.example"}}),
        (400, "GET", f"{JOBS}/x", {}),
        (401, "GET", job, {"keyless": True}),
        (401, "GET", job, {"keyless": True, "Authorization": "Bearer x"}),
        (404, "GET", f"{JOBS}/{NO_ID}", {}),
        (404, "PUT", f"{JOBS}/{NO_ID}", {"json": {"stats": {}}}),
        (404, "GET", "/nowhere", {}),
        (404, "GET", "/nowhere", {"keyless": True}),
        (405, "PUT", JOBS, {}),
        (409, "DELETE", job, {}),
        (412, "PUT", job, {"json": {"stats": {}}, "If_Match": '"99"'}),
        (413, "POST", JOBS, {"json": {"domain": "x" * 1_100_000}}),
        (415, "POST", JOBS, {}),
        (500, "GET", "/breaks", {"keyless": True}),
    ]


# ----------------------------------------------------------------------------------------------------------- turned off


def test_without_the_setting_nothing_is_granted_to_anybody(plain: Browser) -> None:
    for status, method, path, sent in every_kind(plain):
        answer = plain.call(method, path, PAGE, **sent)
        assert (answer.status_code, grants(answer)) == (status, {}), (method, path)
    assert grants(plain.preflight(JOBS, PAGE, "PUT", *SENT)) == {}


def test_without_the_setting_options_says_what_there_is(plain: Browser) -> None:
    answer = plain.call("OPTIONS", f"{JOBS}/{NO_ID}", None, keyless=True)
    assert (answer.status_code, answer.data) == (200, b"")
    assert words(answer.headers["Allow"]) == {"get", "head", "put", "patch", "delete", "options"}


# -------------------------------------------------------------------------------------------------------- before a call


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (JOBS, ["GET", "POST"]),
        (f"{JOBS}/{NO_ID}", ["GET", "PUT", "PATCH", "DELETE"]),
        (f"{JOBS}/next", ["GET", "POST"]),
        (f"{JOBS}/{NO_ID}/heartbeat", ["POST"]),
        ("/api/webhooks", ["GET", "POST"]),
        (f"/api/webhooks/{NO_ID}", ["PUT", "DELETE"]),
    ],
)
def test_a_page_of_a_named_origin_may_ask_keyless_and_then_call(
    browser: Browser, path: str, methods: list[str]
) -> None:
    for method in methods:
        answer = browser.preflight(path, PAGE, method, *SENT)
        assert (answer.status_code, answer.data) == (200, b"")
        granted = grants(answer)
        assert granted["access-control-allow-origin"] == PAGE
        assert method.lower() in words(granted["access-control-allow-methods"])
        assert words(granted["access-control-allow-headers"]) == {name.lower() for name in SENT}
        assert 0 < int(granted["access-control-max-age"]) <= 600
        assert "access-control-allow-credentials" not in granted
        assert "*" not in granted.values()
        assert "origin" in words(answer.headers["Vary"])


def test_each_header_that_the_api_takes_may_be_sent_alone(browser: Browser) -> None:
    for name in (*SENT, "If-None-Match"):
        granted = grants(browser.preflight(f"{JOBS}/{NO_ID}", PAGE, "PUT", name))
        assert words(granted["access-control-allow-headers"]) == {name.lower()}


TRACING = ("sentry-trace", "baggage", "traceparent", "tracestate")


def test_headers_of_tracing_tools_may_be_sent(browser: Browser) -> None:
    granted = grants(browser.preflight(f"{JOBS}/{NO_ID}", PAGE, "PUT", *SENT, *TRACING))
    assert words(granted["access-control-allow-headers"]) == {
        name.lower() for name in (*SENT, *TRACING)
    }


def test_setting_names_the_further_headers(database_url: str) -> None:
    environ = {
        "DATABASE_URL": database_url,
        "SCRAPE_JOBS_CORS_ORIGINS": PAGE,
        "SCRAPE_JOBS_CORS_HEADERS": "x-datadog-trace-id, b3",
    }
    app = create_app(Settings.from_environ(environ))
    granted = grants(
        Browser(app).preflight(JOBS, PAGE, "POST", *SENT, *TRACING, "b3", "X-Datadog-Trace-Id")
    )
    assert words(granted["access-control-allow-headers"]) == {
        *(name.lower() for name in SENT), "b3", "x-datadog-trace-id",
    }  # fmt: skip
    dispose(app)


@pytest.mark.parametrize("names", ["trace parent", "a:b", "x\u00fc", "(x)", "x" * 101])
def test_name_that_is_no_header_is_refused(names: str) -> None:
    with pytest.raises(SettingsError, match=r"SCRAPE_JOBS_CORS_HEADERS: must be names of headers"):
        Settings.from_environ({"SCRAPE_JOBS_CORS_HEADERS": names})


@pytest.mark.parametrize("origin", STRANGERS)
def test_a_page_of_another_origin_may_not(browser: Browser, origin: str) -> None:
    preflight = browser.preflight(f"{JOBS}/{NO_ID}", origin, "PUT", *SENT)
    assert (preflight.status_code, grants(preflight)) == (200, {})
    for answer in (
        browser.call("GET", JOBS, origin),
        browser.call("GET", JOBS, origin, keyless=True),
        browser.call("GET", "/nowhere", origin),
        browser.call("GET", "/breaks", origin),
    ):
        assert grants(answer) == {}


def test_an_origin_in_capitals_is_granted_only_what_is_named(browser: Browser) -> None:
    # Browsers write an origin in small letters; whatever else comes, no other origin may be named
    # in the answer.
    granted = grants(browser.call("GET", JOBS, PAGE.upper()))
    assert granted.get("access-control-allow-origin", PAGE).lower() == PAGE


def test_a_network_of_one_s_own_is_not_opened(browser: Browser) -> None:
    named = {
        "Access_Control_Request_Method": "PUT",
        "Access_Control_Request_Private_Network": "true",
    }
    answer = browser.call("OPTIONS", f"{JOBS}/{NO_ID}", PAGE, keyless=True, **named)
    assert grants(answer).get("access-control-allow-private-network", "false") == "false"


# --------------------------------------------------------------------------------------------------------------- a call


def test_every_kind_of_answer_can_be_read_by_pages_of_a_named_origin_alone(
    browser: Browser,
) -> None:
    for status, method, path, sent in every_kind(browser):
        answer = browser.call(method, path, PAGE, **sent)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers.getlist("Access-Control-Allow-Origin") == [PAGE], (method, path)
        granted = grants(answer)
        assert words(granted.pop("access-control-expose-headers")) >= READ
        assert granted == {"access-control-allow-origin": PAGE}


def test_a_cache_is_told_that_answers_differ_by_origin_whoever_asks(browser: Browser) -> None:
    # An answer that was kept for one page, or for none, must not be shown to another.
    for origin in (PAGE, "https://evil.example", None):
        for status, method, path, sent in every_kind(browser):
            answer = browser.call(method, path, origin, **sent)
            assert answer.status_code == status
            assert "origin" in words(answer.headers.get("Vary", "")), (origin, method, path)


def test_who_is_no_page_is_granted_nothing(browser: Browser) -> None:
    for _, method, path, sent in every_kind(browser):
        assert grants(browser.call(method, path, None, **sent)) == {}, (method, path)


def test_of_several_origins_the_one_that_asks_is_named(database_url: str) -> None:
    app = make_app(database_url, PAGE, OTHER_PAGE, LOCAL_PAGE)
    try:
        for origin in (PAGE, OTHER_PAGE, LOCAL_PAGE):
            answer = Browser(app).call("GET", JOBS, origin)
            assert answer.headers.getlist("Access-Control-Allow-Origin") == [origin]
    finally:
        dispose(app)


def test_a_page_can_read_that_it_asks_too_often(database_url: str) -> None:
    app = make_app(database_url, PAGE, rate_limit=True, rate_limit_reads=2)
    try:
        browser = Browser(app)
        for _ in range(3):
            answer = browser.call("GET", JOBS, PAGE)
        assert answer.status_code == 429
        assert grants(answer)["access-control-allow-origin"] == PAGE
        assert int(answer.headers["Retry-After"]) > 0
        assert_safe(dict(answer.headers))
        assert grants(browser.call("GET", JOBS, "https://evil.example")) == {}
        # What a browser asks before a call counts for nothing, and needs no key.
        for _ in range(5):
            assert browser.preflight(JOBS, PAGE, "POST").status_code == 200
    finally:
        dispose(app)


# ------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "text",
    [
        "*", "null", "https://*.example.com", "https://app.example.com/", "https://app.example.com/path",
        "app.example.com", "https://", "ftp://app.example.com", "https://app.example.com:port", ".*", "https://.+",
        "https://app[.]example.com", "https://(a|b).example.com", "^https://app.example.com$",
        "https://user@app.example.com", "https://app.example.com\\.", "https://app.example.com https://b.example.com",
        "https://app.example.com,*", "https://app.example.com?x", "https://app.example.com#",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environ({"SCRAPE_JOBS_CORS_ORIGINS": text})
    assert raised.value.lines == [
        "SCRAPE_JOBS_CORS_ORIGINS: must be origins such as https://app.example.com"
    ]


def test_several_origins_are_named_with_commas_between() -> None:
    settings = Settings.from_environ(
        {"SCRAPE_JOBS_CORS_ORIGINS": f"{PAGE}, {OTHER_PAGE},{LOCAL_PAGE},"}
    )
    assert settings.cors_origins == (PAGE, OTHER_PAGE, LOCAL_PAGE)


# --------------------------------------------------------------------------------------------------------------- safety


def assert_safe(headers: Mapping[str, str]) -> None:
    """Assert that whatever the answer is, a browser takes it for nothing but data, and no cache
    keeps it unasked."""
    assert {name: headers.get(name) for name in SAFE} == SAFE
    assert headers["Cache-Control"] == ("no-cache" if "ETag" in headers else "no-store")
    assert "Server" not in headers or "Werkzeug" not in headers["Server"]


def test_every_kind_of_answer_says_how_it_has_to_be_treated(
    plain: Browser, browser: Browser
) -> None:
    for one in (plain, browser):
        for status, method, path, sent in [
            *every_kind(one),
            (200, "OPTIONS", JOBS, {"keyless": True}),
        ]:
            answer = one.call(method, path, None, **sent)
            assert answer.status_code == status, (method, path, answer.text)
            assert_safe(dict(answer.headers))
            assert all(len(answer.headers.getlist(name)) == 1 for name in (*SAFE, "Cache-Control"))


def test_a_job_may_be_kept_if_it_is_asked_about_each_time_and_nothing_else_may(
    plain: Browser,
) -> None:
    job = f"{JOBS}/{make_job(plain)['id']}"
    assert plain.call("GET", job, None).headers["Cache-Control"] == "no-cache"
    assert plain.call("GET", job, None, If_None_Match="*").headers["Cache-Control"] == "no-cache"
    for path in (JOBS, f"{job}/history", f"{JOBS}/stats", "/api/webhooks", "/healthz"):
        assert plain.call("GET", path, None).headers["Cache-Control"] == "no-store"


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
def test_what_never_reaches_the_application_is_answered_as_safely(
    service: Service, request_bytes: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(request_bytes)
        response = HTTPResponse(connection)
        response.begin()
        body = response.read()
    assert_safe(dict(response.headers))
    assert not body or isinstance(json.loads(body)["success"], bool)
