"""Cross-origin requests: the pages that may call the API, the headers they may send and read."""

import pytest

from app.config import Settings, SettingsError
from app.factory import create_app
from support.application import close
from support.browser import (
    JOBS,
    LOCAL_PAGE,
    MISSING_ID,
    OTHER_PAGE,
    PAGE,
    Browser,
    assert_safe,
    granted_headers,
    make_app,
    names_in,
)

SENT_HEADERS = (
    "Authorization",
    "Content-Type",
    "If-Match",
    "Idempotency-Key",
    "X-Lease-Token",
    "X-Request-ID",
)

READABLE_HEADERS = {
    "etag",
    "location",
    "retry-after",
    "x-request-id",
    "idempotent-replayed",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
}

OTHER_ORIGINS = (
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
"""Origins that are not allowed, though some look similar to an allowed one."""


def test_without_the_setting_nothing_is_granted(same_origin_browser: Browser) -> None:
    for status, method, path, sent in same_origin_browser.requests_of_every_kind():
        answer = same_origin_browser.call(method, path, PAGE, **sent)
        assert (answer.status_code, granted_headers(answer)) == (status, {}), (method, path)
    assert granted_headers(same_origin_browser.preflight(JOBS, PAGE, "PUT", *SENT_HEADERS)) == {}


def test_without_the_setting_options_lists_methods(same_origin_browser: Browser) -> None:
    answer = same_origin_browser.call("OPTIONS", f"{JOBS}/{MISSING_ID}", None, keyless=True)
    assert (answer.status_code, answer.data) == (200, b"")
    assert names_in(answer.headers["Allow"]) == {"get", "head", "put", "patch", "delete", "options"}


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (JOBS, ["GET", "POST"]),
        (f"{JOBS}/{MISSING_ID}", ["GET", "PUT", "PATCH", "DELETE"]),
        (f"{JOBS}/next", ["GET", "POST"]),
        (f"{JOBS}/{MISSING_ID}/heartbeat", ["POST"]),
        ("/api/webhooks", ["GET", "POST"]),
        (f"/api/webhooks/{MISSING_ID}", ["PUT", "DELETE"]),
    ],
)
def test_preflight_of_allowed_page_needs_no_key(
    browser: Browser, path: str, methods: list[str]
) -> None:
    for method in methods:
        answer = browser.preflight(path, PAGE, method, *SENT_HEADERS)
        assert (answer.status_code, answer.data) == (200, b"")
        granted = granted_headers(answer)
        assert granted["access-control-allow-origin"] == PAGE
        assert method.lower() in names_in(granted["access-control-allow-methods"])
        assert names_in(granted["access-control-allow-headers"]) == {
            name.lower() for name in SENT_HEADERS
        }
        assert 0 < int(granted["access-control-max-age"]) <= 600
        assert "access-control-allow-credentials" not in granted
        assert "*" not in granted.values()
        assert "origin" in names_in(answer.headers["Vary"])


def test_each_header_of_the_api_may_be_sent(browser: Browser) -> None:
    for name in (*SENT_HEADERS, "If-None-Match"):
        granted = granted_headers(browser.preflight(f"{JOBS}/{MISSING_ID}", PAGE, "PUT", name))
        assert names_in(granted["access-control-allow-headers"]) == {name.lower()}


TRACING_HEADERS = ("sentry-trace", "baggage", "traceparent", "tracestate")


def test_headers_of_tracing_tools_may_be_sent(browser: Browser) -> None:
    granted = granted_headers(
        browser.preflight(f"{JOBS}/{MISSING_ID}", PAGE, "PUT", *SENT_HEADERS, *TRACING_HEADERS)
    )
    assert names_in(granted["access-control-allow-headers"]) == {
        name.lower() for name in (*SENT_HEADERS, *TRACING_HEADERS)
    }


def test_setting_adds_further_headers(database_url: str) -> None:
    environ = {
        "DATABASE_URL": database_url,
        "SCRAPE_JOBS_CORS_ORIGINS": PAGE,
        "SCRAPE_JOBS_CORS_HEADERS": "x-datadog-trace-id, b3",
    }
    app = create_app(Settings.from_environ(environ))
    granted = granted_headers(
        Browser(app).preflight(
            JOBS, PAGE, "POST", *SENT_HEADERS, *TRACING_HEADERS, "b3", "X-Datadog-Trace-Id"
        )
    )
    assert names_in(granted["access-control-allow-headers"]) == {
        *(name.lower() for name in SENT_HEADERS),
        "b3",
        "x-datadog-trace-id",
    }
    close(app)


@pytest.mark.parametrize("names", ["trace parent", "a:b", "x\u00fc", "(x)", "x" * 101])
def test_setting_refuses_invalid_header_names(names: str) -> None:
    with pytest.raises(SettingsError, match=r"SCRAPE_JOBS_CORS_HEADERS: must be names of headers"):
        Settings.from_environ({"SCRAPE_JOBS_CORS_HEADERS": names})


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_page_of_other_origin_is_granted_nothing(browser: Browser, origin: str) -> None:
    preflight = browser.preflight(f"{JOBS}/{MISSING_ID}", origin, "PUT", *SENT_HEADERS)
    assert (preflight.status_code, granted_headers(preflight)) == (200, {})
    for answer in (
        browser.call("GET", JOBS, origin),
        browser.call("GET", JOBS, origin, keyless=True),
        browser.call("GET", "/nowhere", origin),
        browser.call("GET", "/breaks", origin),
    ):
        assert granted_headers(answer) == {}


def test_origin_in_capitals_gets_the_named_origin(browser: Browser) -> None:
    # Browsers write origins in lower case. Whatever is sent, the answer may name no other origin.
    granted = granted_headers(browser.call("GET", JOBS, PAGE.upper()))
    assert granted.get("access-control-allow-origin", PAGE).lower() == PAGE


def test_private_network_access_is_not_granted(browser: Browser) -> None:
    named = {
        "Access_Control_Request_Method": "PUT",
        "Access_Control_Request_Private_Network": "true",
    }
    answer = browser.call("OPTIONS", f"{JOBS}/{MISSING_ID}", PAGE, keyless=True, **named)
    assert granted_headers(answer).get("access-control-allow-private-network", "false") == "false"


def test_allowed_page_can_read_every_answer(
    browser: Browser,
) -> None:
    for status, method, path, sent in browser.requests_of_every_kind():
        answer = browser.call(method, path, PAGE, **sent)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers.getlist("Access-Control-Allow-Origin") == [PAGE], (method, path)
        granted = granted_headers(answer)
        assert names_in(granted.pop("access-control-expose-headers")) >= READABLE_HEADERS
        assert granted == {"access-control-allow-origin": PAGE}


def test_every_answer_varies_by_origin(browser: Browser) -> None:
    # A cache must not show an answer that it keeps for one page, or for none, to another.
    for origin in (PAGE, "https://evil.example", None):
        for status, method, path, sent in browser.requests_of_every_kind():
            answer = browser.call(method, path, origin, **sent)
            assert answer.status_code == status
            assert "origin" in names_in(answer.headers.get("Vary", "")), (origin, method, path)


def test_request_without_origin_is_granted_nothing(browser: Browser) -> None:
    for _, method, path, sent in browser.requests_of_every_kind():
        assert granted_headers(browser.call(method, path, None, **sent)) == {}, (method, path)


def test_answer_names_the_origin_that_asked(database_url: str) -> None:
    app = make_app(database_url, PAGE, OTHER_PAGE, LOCAL_PAGE)
    try:
        for origin in (PAGE, OTHER_PAGE, LOCAL_PAGE):
            answer = Browser(app).call("GET", JOBS, origin)
            assert answer.headers.getlist("Access-Control-Allow-Origin") == [origin]
    finally:
        close(app)


def test_page_can_read_refusal_by_rate_limit(database_url: str) -> None:
    app = make_app(database_url, PAGE, rate_limit=True, rate_limit_reads=2)
    try:
        browser = Browser(app)
        for _ in range(3):
            answer = browser.call("GET", JOBS, PAGE)
        assert answer.status_code == 429
        assert granted_headers(answer)["access-control-allow-origin"] == PAGE
        assert int(answer.headers["Retry-After"]) > 0
        assert_safe(dict(answer.headers))
        assert granted_headers(browser.call("GET", JOBS, "https://evil.example")) == {}
        # Preflight requests count against no limit and need no key.
        for _ in range(5):
            assert browser.preflight(JOBS, PAGE, "POST").status_code == 200
    finally:
        close(app)


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "https://*.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "app.example.com",
        "https://",
        "ftp://app.example.com",
        "https://app.example.com:port",
        ".*",
        "https://.+",
        "https://app[.]example.com",
        "https://(a|b).example.com",
        "^https://app.example.com$",
        "https://user@app.example.com",
        "https://app.example.com\\.",
        "https://app.example.com https://b.example.com",
        "https://app.example.com,*",
        "https://app.example.com?x",
        "https://app.example.com#",
    ],
)
def test_setting_refuses_invalid_origins(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environ({"SCRAPE_JOBS_CORS_ORIGINS": text})
    assert raised.value.lines == [
        "SCRAPE_JOBS_CORS_ORIGINS: must be origins such as https://app.example.com"
    ]


def test_setting_takes_origins_separated_by_commas() -> None:
    settings = Settings.from_environ(
        {"SCRAPE_JOBS_CORS_ORIGINS": f"{PAGE}, {OTHER_PAGE},{LOCAL_PAGE},"}
    )
    assert settings.cors_origins == (PAGE, OTHER_PAGE, LOCAL_PAGE)
