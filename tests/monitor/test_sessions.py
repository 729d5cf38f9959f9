"""Sessions of signed-in users, without a browser."""

import time
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.monitor.sessions import COOKIE, SESSION_SECONDS
from app.vault import new_key
from support.application import application

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
JOBS = "/api/scrape-jobs"
OLD_SECRET, NEW_SECRET = new_key(), new_key()


def settings(database_url: str, *secrets: str) -> Settings:
    return Settings(database_url=database_url, rate_limit=False, secrets_keys=secrets)


@pytest.fixture(scope="module")
def keyed_app(database_url: str) -> Iterator[Flask]:
    """An application with keys, and a secret that signs sessions."""
    with application(settings(database_url, OLD_SECRET)) as app:
        yield app


@pytest.fixture(scope="module")
def key(keyed_app: Flask) -> str:
    """An API key."""
    with keyed_app.app_context():
        created, _ = keys.create("a session's key", (Scope.ALL,), None, None)
    return str(created)


def sign_in(app: Flask, key: str, **more: str) -> tuple[FlaskClient, TestResponse]:
    client = app.test_client()
    form = {"key": key, "next": more.pop("next", "/")}
    headers = {**SAME_ORIGIN, **more}
    return client, client.post("/sign-in", data=form, headers=headers)


def test_session_holds_the_id_alone(keyed_app: Flask, key: str) -> None:
    client, answer = sign_in(keyed_app, key)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    _, key_id, secret = key.split("_", 2)
    assert secret not in cookie.value
    assert key_id in cookie.value
    assert client.get(JOBS, headers=SAME_ORIGIN).status_code == 200
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("proto", "is_secure"), [("http", False), ("https", True), ("http, https", True)]
)
def test_cookie_is_secure_over_https(
    keyed_app: Flask, key: str, proto: str, is_secure: bool
) -> None:
    _, answer = sign_in(keyed_app, key, **{"X-Forwarded-Proto": proto})
    attributes = answer.headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/", f"Max-Age={SESSION_SECONDS}"} <= set(attributes)
    assert ("Secure" in attributes) == is_secure


@pytest.mark.parametrize(
    ("next_path", "location"),
    [
        ("/jobs/1?x=2", "/jobs/1?x=2"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\tx", "/"),
        ("", "/"),
    ],
)
def test_sign_in_leads_to_this_site_alone(
    keyed_app: Flask, key: str, next_path: str, location: str
) -> None:
    _, answer = sign_in(keyed_app, key, next=next_path)
    assert answer.headers["Location"] == location


def test_form_of_another_site_is_refused(keyed_app: Flask, key: str) -> None:
    client, answer = sign_in(keyed_app, key, **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert client.get_cookie(COOKIE) is None


def test_sign_out_of_another_site_changes_nothing(keyed_app: Flask, key: str) -> None:
    client, _ = sign_in(keyed_app, key)
    client.post("/sign-out", headers={"Sec-Fetch-Site": "cross-site"})
    assert client.get_cookie(COOKIE) is not None
    client.post("/sign-out", headers=SAME_ORIGIN)
    assert client.get_cookie(COOKIE) is None
    assert client.get(JOBS, headers=SAME_ORIGIN).status_code == 401


def test_session_ends_after_its_time(
    keyed_app: Flask, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = sign_in(keyed_app, key)
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    client.set_cookie(COOKIE, cookie.value)  # without its Max-Age
    later = time.time() + SESSION_SECONDS + 5
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: later)
    answer = client.get(JOBS, headers=SAME_ORIGIN)
    assert answer.status_code == 401
    assert answer.get_json()["details"] == "The session is over: sign in again"


def test_new_secret_in_front_keeps_sessions(keyed_app: Flask, key: str, database_url: str) -> None:
    client, _ = sign_in(keyed_app, key)
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    for secrets, status in (((NEW_SECRET, OLD_SECRET), 200), ((NEW_SECRET,), 401), ((), 401)):
        with application(settings(database_url, *secrets)) as app:
            other = app.test_client()
            other.set_cookie(COOKIE, cookie.value)
            assert other.get(JOBS, headers=SAME_ORIGIN).status_code == status, secrets


def test_without_secret_the_page_says_what_is_missing(database_url: str) -> None:
    with application(settings(database_url)) as app:
        client = app.test_client()
        assert "SCRAPE_JOBS_SECRETS_KEY" in client.get("/sign-in").text
        answer = client.get("/queue?x=1")
        assert (answer.status_code, answer.headers["Location"]) == (
            303,
            "/sign-in?next=/queue?x%3D1",
        )
        assert answer.data == b""


def test_session_does_not_replace_a_wrong_key(keyed_app: Flask, key: str) -> None:
    client, _ = sign_in(keyed_app, key)
    headers = {**SAME_ORIGIN, "Authorization": "Bearer sjk_wrong"}
    assert client.get(JOBS, headers=headers).status_code == 401


def test_cross_origin_pages_get_no_credentials(database_url: str, key: str) -> None:
    allowed = Settings(
        database_url=database_url, rate_limit=False, secrets_keys=(OLD_SECRET,),
        cors_origins=("https://app.example.com",),
    )  # fmt: skip
    with application(allowed) as app:
        client, _ = sign_in(app, key)
        headers = {"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"}
        answer = client.get(JOBS, headers=headers)
    assert answer.status_code == 401
    assert "Access-Control-Allow-Credentials" not in answer.headers
