"""A browser: calls of web pages to the API, and every kind of answer that the API gives."""

from collections.abc import Mapping
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.api_keys import service as api_keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from app.http.operation import operation

JOBS = "/api/scrape-jobs"
MISSING_ID = "0190f3a0-0000-7000-8000-000000000000"

PAGE = "https://app.example.com"
OTHER_PAGE = "https://admin.example.org"
LOCAL_PAGE = "http://localhost:5173"

SAFETY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def make_app(url: str, *origins: str, **settings: Any) -> Flask:
    """Return an application that pages of `origins` may call, with an endpoint that fails."""
    chosen = {"database_url": url, "rate_limit": False, "cors_origins": origins, **settings}
    app = create_app(Settings(**chosen))

    @app.get("/breaks")
    @operation("It broke", is_open=True)
    def breaks() -> str:
        raise ZeroDivisionError

    return app


class Browser:
    """Calls an application as a page's script does, with an API key unless it is `keyless`."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()
        with app.app_context():
            self.key = str(api_keys.create("a page's key", [Scope.ALL], None, None)[0])

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
        """Send a request of a page; `named` are headers, with _ for -."""
        headers = {name.replace("_", "-"): value for name, value in named.items()}
        headers.update({} if origin is None else {"Origin": origin})
        headers.update({} if keyless else {"Authorization": f"Bearer {self.key}"})
        return self.client.open(path, method=method, json=json, headers=headers)

    def preflight(self, path: str, origin: str | None, method: str, *sent: str) -> TestResponse:
        """Ask whether a page may call with `method` and the headers `sent`."""
        named = {"Access_Control_Request_Method": method}
        if sent:
            # Browsers write the names in lower case.
            named["Access_Control_Request_Headers"] = ",".join(sent).lower()
        return self.call("OPTIONS", path, origin, keyless=True, **named)

    def make_job(self) -> dict[str, Any]:
        """Create a job and return it."""
        answer = self.call("POST", JOBS, None, {"domain": "cors.example"})
        job: dict[str, Any] = answer.get_json()["data"]
        return job

    def requests_of_every_kind(self) -> list[tuple[int, str, str, dict[str, Any]]]:
        """Return a request for each kind of answer: status, method, path, arguments of `call`."""
        job = f"{JOBS}/{self.make_job()['id']}"
        merge_patch = {"json": {"stats": {}}, "Content_Type": "application/merge-patch+json"}
        return [
            (200, "GET", "/healthz", {}),
            (200, "GET", "/readyz", {}),
            (200, "GET", "/metrics", {}),
            (200, "GET", JOBS, {}),
            (200, "HEAD", job, {}),
            (200, "GET", job, {}),
            (304, "GET", job, {"If_None_Match": "*"}),
            (200, "PUT", job, {"json": {"status": "running"}}),
            (200, "PATCH", job, merge_patch),
            (200, "DELETE", job, {}),
            (201, "POST", JOBS, {"json": {"domain": "cors.example"}}),
            (400, "GET", f"{JOBS}/x", {}),
            (401, "GET", job, {"keyless": True}),
            (401, "GET", job, {"keyless": True, "Authorization": "Bearer x"}),
            (404, "GET", f"{JOBS}/{MISSING_ID}", {}),
            (404, "PUT", f"{JOBS}/{MISSING_ID}", {"json": {"stats": {}}}),
            (404, "GET", "/nowhere", {}),
            (404, "GET", "/nowhere", {"keyless": True}),
            (405, "PUT", JOBS, {}),
            (409, "DELETE", job, {}),
            (412, "PUT", job, {"json": {"stats": {}}, "If_Match": '"99"'}),
            (413, "POST", JOBS, {"json": {"domain": "x" * 1_100_000}}),
            (415, "POST", JOBS, {}),
            (500, "GET", "/breaks", {"keyless": True}),
        ]


def granted_headers(answer: TestResponse) -> dict[str, str]:
    """Return the headers that grant something to pages of other origins."""
    return {
        name.lower(): value
        for name, value in answer.headers
        if name.lower().startswith("access-control-")
    }


def names_in(header: str) -> set[str]:
    """Return the names in a header's list, in lower case."""
    return {name.strip().lower() for name in header.split(",")}


def assert_safe(headers: Mapping[str, str]) -> None:
    """Assert that browsers treat the answer as data only, and no cache keeps it unasked."""
    assert {name: headers.get(name) for name in SAFETY_HEADERS} == SAFETY_HEADERS
    assert headers["Cache-Control"] == ("no-cache" if "ETag" in headers else "no-store")
    assert "Server" not in headers or "Werkzeug" not in headers["Server"]
