"""Client addresses: the forms that proxies write, and the addresses that share a rate limit."""

import logging
from collections.abc import Iterator

import psycopg2
import pytest
from flask import Flask

from app.config import Settings
from support.application import application
from support.logs import facts_of

JOBS = "/api/scrape-jobs"
FORWARDED = [
    ("203.0.113.7", "203.0.113.7"),
    (" 203.0.113.7 ", "203.0.113.7"),
    ("203.0.113.7:51008", "203.0.113.7"),
    ("::ffff:203.0.113.7", "203.0.113.7"),
    ("[::ffff:cb00:7107]:443", "203.0.113.7"),
    ("2001:DB8:0:0::1", "2001:db8::1"),
    ("[2001:db8::1]", "2001:db8::1"),
    ("[2001:db8::1]:443", "2001:db8::1"),
    ('"[2001:db8::1]:443"', "2001:db8::1"),
    ('"[2001:db8::1]"', "2001:db8::1"),
    ('for="[2001:db8::1]:4711"', "2001:db8::1"),
    ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
    ("fe80::1%eth0", "fe80::1"),
    ("[fe80::1%25eth0]:80", "fe80::1"),
    ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
    ("198.51.100.1,, 203.0.113.7 ,", "203.0.113.7"),
    ('", 203.0.113.7', "203.0.113.7"),
    ('"198.51.100.1, 203.0.113.7:1', "203.0.113.7"),
    ("for=, 203.0.113.7", "203.0.113.7"),
    ("unknown", None),
    ("for=_hidden", None),
    ("for=", None),
    ("203.0.113.7:port", None),
    ("[203.0.113.7", None),
    ("300.1.1.1", None),
    ("\u0663.1.1.1", None),
]


@pytest.fixture(scope="module")
def proxied(database_url: str) -> Iterator[Flask]:
    """An application behind one proxy that allows each caller two creations a minute."""
    settings = Settings(
        database_url=database_url, auth="off", trusted_proxies=1, rate_limit_creations=2
    )
    with application(settings) as app:
        yield app


def stored_address(database_url: str, job_id: str) -> str | None:
    """Return the address in the history of a new job."""
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT address FROM job_events WHERE job_id = %s", (job_id,))
        (event,) = cursor.fetchall()
    connection.close()
    address: str | None = event[0]
    return address


def create(app: Flask, forwarded: str) -> int:
    """Create a job with this X-Forwarded-For, and return the answer's status."""
    headers = {"X-Forwarded-For": forwarded}
    answer = app.test_client().post(JOBS, json={"domain": "address.example"}, headers=headers)
    return answer.status_code


@pytest.mark.parametrize(("forwarded", "address"), FORWARDED)
def test_history_and_log_have_the_bare_address(
    database_url: str, forwarded: str, address: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(database_url=database_url, auth="off", rate_limit=False, trusted_proxies=1)
    with application(settings) as app, caplog.at_level(logging.INFO, "app.requests"):
        answer = app.test_client().post(
            JOBS,
            json={"domain": "address.example"},
            headers={"X-Forwarded-For": forwarded.encode().decode("latin-1")},
        )
    (line,) = (record for record in caplog.records if record.message == "request")
    assert facts_of(line)["address"] == address
    assert stored_address(database_url, answer.get_json()["data"]["id"]) == address


@pytest.mark.parametrize(
    "same",
    [
        ["192.0.2.1:1000", "192.0.2.1:1001", "192.0.2.1"],
        ["[2001:db8:1:2::1]:1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:ffff::"],
        ["::ffff:192.0.2.2", "192.0.2.2", "[::ffff:192.0.2.2]:9"],
        ["unknown", "for=_a", "for=_b"],
    ],
    ids=["port", "network", "mapped", "unknown"],
)
def test_addresses_of_one_caller_share_a_limit(proxied: Flask, same: list[str]) -> None:
    assert [create(proxied, forwarded) for forwarded in same] == [201, 201, 429]


def test_other_callers_have_their_own_limits(proxied: Flask) -> None:
    others = ["192.0.2.10", "192.0.2.11", "2001:db8:2:1::1", "2001:db8:2:2::1", "::ffff:192.0.2.12"]
    assert [create(proxied, forwarded) for forwarded in others * 2] == [201] * 10


def test_with_too_few_addresses_the_peer_counts(database_url: str) -> None:
    settings = Settings(database_url=database_url, auth="off", rate_limit=False, trusted_proxies=2)
    with application(settings) as app:
        answer = app.test_client().post(
            JOBS, json={"domain": "a.example"}, headers={"X-Forwarded-For": "192.0.2.1, ,"}
        )
    assert stored_address(database_url, answer.get_json()["data"]["id"]) == "127.0.0.1"
