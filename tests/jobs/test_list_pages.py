"""Pages of the list, and invalid queries."""

import base64
import json
import threading
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from support.factories import make_job, new_domain
from support.jobs import JOBS, SORTS, Query, get, pages

CURSOR = "Invalid cursor: must be the next_cursor of a page of the same list"


def refusal(client: FlaskClient, query: str | Query) -> str:
    answer = client.get(JOBS, query_string=query)
    assert answer.status_code == 400, answer.text
    body = answer.get_json()
    assert body.keys() <= {"success", "error", "details"}
    return str(body["error"])


def next_cursor(client: FlaskClient, domain: str, **query: Any) -> str:
    return str(get(client, domain=domain, limit=1, **query)["pagination"]["next_cursor"])


def test_empty_list_is_an_empty_page(client: FlaskClient) -> None:
    assert get(client, domain=new_domain()) == {
        "success": True,
        "data": [],
        "pagination": {"limit": 50, "next_cursor": None, "has_more": False},
    }


def test_default_page_has_50_jobs(client: FlaskClient) -> None:
    domain = new_domain()
    client.post(JOBS, json=[{"domain": domain}] * 201)
    first = get(client, domain=domain)
    assert (len(first["data"]), first["pagination"]["limit"], first["pagination"]["has_more"]) == (
        50,
        50,
        True,
    )
    most = get(client, domain=domain, limit=200)
    assert (len(most["data"]), most["pagination"]["limit"], most["pagination"]["has_more"]) == (
        200,
        200,
        True,
    )
    last = get(client, domain=domain, limit=200, cursor=most["pagination"]["next_cursor"])
    assert len(last["data"]) == 1
    assert last["pagination"] == {"limit": 200, "next_cursor": None, "has_more": False}


def test_a_full_last_page_has_no_cursor(client: FlaskClient) -> None:
    domain = new_domain()
    client.post(JOBS, json=[{"domain": domain}] * 4)
    assert [len(page) for page in pages(client, domain=domain, limit=2)] == [2, 2]


def test_page_size_may_change_between_pages(client: FlaskClient) -> None:
    domain = new_domain()
    client.post(JOBS, json=[{"domain": domain}] * 5)
    cursor = next_cursor(client, domain)
    assert len(get(client, domain=domain, limit=4, cursor=cursor)["data"]) == 4


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "priority"])
def test_no_job_is_repeated_during_inserts(app: Flask, client: FlaskClient, sort: str) -> None:
    domain = new_domain()
    bodies = [{"domain": domain, "priority": n % 10 + 1} for n in range(40)]
    at_start = {job["id"] for job in client.post(JOBS, json=bodies).get_json()["data"]}
    stop, one_is_there = threading.Event(), threading.Event()
    added: list[str] = []

    def add() -> None:
        with app.test_client() as other:
            for n in range(150):
                if stop.is_set():
                    return
                added.append(make_job(other, domain=domain, priority=n % 10 + 1)["id"])
                one_is_there.set()

    adder = threading.Thread(target=add)
    adder.start()
    try:
        assert one_is_there.wait(60)
        shown = [
            job["id"] for page in pages(client, domain=domain, sort=sort, limit=3) for job in page
        ]
    finally:
        stop.set()
        adder.join()
    assert len(set(shown)) == len(shown)
    assert at_start <= set(shown)
    assert set(shown) <= at_start | set(added)
    assert len(added) > 1


@pytest.mark.parametrize("sort", SORTS)
def test_new_job_between_pages_shifts_nothing(client: FlaskClient, app: Flask, sort: str) -> None:
    domain = new_domain()
    bodies = [{"domain": domain, "priority": n % 3 * 4 + 1} for n in range(8)]
    at_start = {job["id"] for job in client.post(JOBS, json=bodies).get_json()["data"]}
    shown: list[str] = []
    for number, page in enumerate(pages(client, domain=domain, sort=sort, limit=2)):
        shown += [job["id"] for job in page]
        if number < 6:
            make_job(app.test_client(), domain=domain, priority=number % 2 * 9 + 1)
    assert len(set(shown)) == len(shown)
    assert at_start <= set(shown)


def test_cursor_survives_removal_of_its_job(
    client: FlaskClient,
) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain) for _ in range(4)]
    first = get(client, domain=domain, status="pending", sort="created_at", limit=2)
    assert client.delete(f"{JOBS}/{made[1]['id']}").status_code == 200
    cursor = first["pagination"]["next_cursor"]
    assert (
        get(client, domain=domain, status="pending", sort="created_at", cursor=cursor)["data"]
        == made[2:]
    )


def forged(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


JOB_ID = "123e4567-e89b-12d3-a456-426614174000"
AT = "2024-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "cursor",
    [
        "", " ", "x", "garbage", "=", "====", "a" * 501, "a" * 5000, "ü", "\x00", "%", "../..", "' OR 1=1 --", "\ud7ff",
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[" * 300).decode(),
        base64.urlsafe_b64encode(b'"' + b"-" * 300 + b'"').decode(),
        forged(), forged("-created_at"), forged("-created_at", AT), forged("-created_at", AT, JOB_ID, 1),
        forged("-created_at", AT, "x"), forged("-created_at", AT, 5), forged("-created_at", AT, None),
        forged("-created_at", AT, [JOB_ID]), forged("-created_at", AT, {"x": 1}), forged("-created_at", AT, True),
        forged("-created_at", 5, JOB_ID), forged("-created_at", None, JOB_ID), forged("-created_at", "x", JOB_ID),
        forged("-created_at", "2024-01-01T00:00:00", JOB_ID), forged("-created_at", [AT], JOB_ID),
        forged("-created_at", "2024-01-01T00:00:00+00:00:00.000001", JOB_ID),
        forged("-created_at", "2024-01-01T00:00:00+01:00", JOB_ID),
        forged("-created_at", "0001-01-01T00:00:00+23:59", JOB_ID),
        forged("-created_at", "9999-12-31T23:59:59.999999-23:59", JOB_ID),
        forged(None, AT, JOB_ID), forged(["-created_at"], AT, JOB_ID), forged("created_at", AT, JOB_ID),
        forged("priority", 1, AT, JOB_ID), forged(f"history {JOB_ID}", 1),
    ],
)  # fmt: skip
def test_invalid_cursor_is_rejected(client: FlaskClient, cursor: str) -> None:
    assert refusal(client, {"cursor": cursor}) == CURSOR


@pytest.mark.parametrize("position", [True, 1.5, "1", None, 2**63, 10**100, [1]])
def test_priority_cursor_requires_an_integer(client: FlaskClient, position: Any) -> None:
    assert (
        refusal(client, {"sort": "priority", "cursor": forged("priority", position, AT, JOB_ID)})
        == CURSOR
    )


@pytest.mark.parametrize("sort", SORTS)
def test_a_cursor_of_another_order_is_refused(client: FlaskClient, sort: str) -> None:
    domain = new_domain()
    client.post(JOBS, json=[{"domain": domain}] * 2)
    cursor = next_cursor(client, domain, sort=sort)
    assert get(client, domain=domain, sort=sort, cursor=cursor)["data"]
    for other in SORTS:
        if other != sort:
            assert refusal(client, {"domain": domain, "sort": other, "cursor": cursor}) == CURSOR


def test_the_cursor_of_a_history_is_refused(client: FlaskClient) -> None:
    job = make_job(client, "running")
    answer = client.get(f"{JOBS}/{job['id']}/history?limit=1").get_json()
    assert refusal(client, {"cursor": answer["pagination"]["next_cursor"]}) == CURSOR


def test_a_truncated_cursor_is_refused(client: FlaskClient) -> None:
    domain = new_domain()
    client.post(JOBS, json=[{"domain": domain}] * 2)
    cursor = next_cursor(client, domain)
    for length in range(len(cursor)):
        assert refusal(client, {"domain": domain, "cursor": cursor[:length]}) == CURSOR


STATUS = "Invalid status: must be one of pending, running, completed, failed, cancelled"
LIMIT = "Invalid limit: must be an integer from 1 to 200"
HOST = "Invalid domain: must be a host name such as example.com, without scheme, port or path"
JOB_TYPE = "Invalid job_type: must be 1 to 64 letters, digits, '_', '.', ':' or '-'"
TAG = "Invalid tag: must be UTF-8 text without NUL characters"
SORT = "Invalid sort: must be one of -created_at, created_at, priority, -updated_at, updated_at"
MOMENT = "must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        *((f"status={value}", STATUS) for value in ("", "paused", "PENDING", "pending,", ",", "a;running", "%00")),
        *((f"limit={value}", LIMIT) for value in ("", "0", "201", "-1", "1.0", "1e2", "x", "+5", "%D9%A5", "9" * 400)),
        *((f"sort={value}", SORT) for value in ("", "-priority", "domain", "id;", "CREATED_AT")),
        *((f"domain={value}", HOST) for value in ("", "a/b", "https://a.example", "127.0.0.256", "%00", "%FF")),
        *((f"job_type={value}", JOB_TYPE) for value in ("", "a b", "%00", "x" * 65)),
        *((f"customer_config_id={value}", "Invalid customer_config_id: must be a UUID") for value in ("", "null", "7")),
        *((f"tag={value}", TAG) for value in ("%00", "a%00b", "%FF", "%ED%A0%80")),
        *(
            (f"{name}={value}", f"Invalid {name}: {MOMENT}")
            for name in ("created_after", "created_before", "updated_after", "updated_before")
            for value in (
                "", "x", "1", "now", "2024-01-01", "2024-01-01T00:00:00+99:99", "2024-01-01T00:00:00ZZ", "%00",
                "0001-01-01T00:00:00+10:00",
            )
        ),
        ("offset=10", "Unknown field: offset"),
        ("page=2", "Unknown field: page"),
        ("Status=pending", "Unknown field: Status"),
        ("status[]=pending", "Unknown field: status[]"),
        ("limit=1&limit=2", "Invalid limit: must be given once"),
        ("status=pending&status=failed", "Invalid status: must be given once"),
        ("cursor=a&cursor=a", "Invalid cursor: must be given once"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(client: FlaskClient, query: str, error: str) -> None:
    assert refusal(client, query) == error


def test_several_wrong_parameters_are_all_named(client: FlaskClient) -> None:
    answer = client.get(f"{JOBS}?what=1&limit=0&status=x")
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": STATUS,
        "details": f"{LIMIT}; Unknown field: what",
    }
