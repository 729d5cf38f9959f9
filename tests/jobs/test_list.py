"""The list of jobs: its filters, its orders, and pages that neither skip nor repeat."""

import base64
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from support.factories import make_job, new_domain

JOBS = "/api/scrape-jobs"
CURSOR = "Invalid cursor: must be the next_cursor of a page of the same list"
SORTS = ["created_at", "-created_at", "priority", "updated_at", "-updated_at"]
NOON = datetime(2020, 6, 1, 12, tzinfo=UTC)

Query = dict[str, Any]


@pytest.fixture
def sql(database_url: str) -> Iterator[Callable[..., None]]:
    connection = psycopg2.connect(database_url)
    connection.autocommit = True

    def execute(statement: str, *parameters: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    yield execute
    connection.close()


def get(client: FlaskClient, **query: Any) -> dict[str, Any]:
    answer = client.get(JOBS, query_string=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def refusal(client: FlaskClient, query: str | Query) -> str:
    answer = client.get(JOBS, query_string=query)
    assert answer.status_code == 400, answer.text
    body = answer.get_json()
    assert body.keys() <= {"success", "error", "details"}
    return str(body["error"])


def pages(client: FlaskClient, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """Follow the cursors to the end."""
    cursor: Query = {}
    while True:
        body = get(client, **query, **cursor)
        yield body["data"]
        pagination = body["pagination"]
        is_resumable = query.get("sort") in ("created_at", "updated_at")
        assert (pagination["next_cursor"] is not None) is (pagination["has_more"] or is_resumable)
        if not pagination["has_more"]:
            return
        cursor = {"cursor": pagination["next_cursor"]}


def next_cursor(client: FlaskClient, domain: str, **query: Any) -> str:
    return str(get(client, domain=domain, limit=1, **query)["pagination"]["next_cursor"])


def spread(client: FlaskClient, sql: Callable[..., None], count: int) -> str:
    """Make jobs with ties in everything that a list is sorted by, and return their domain."""
    domain = new_domain()
    bodies = [{"domain": domain, "priority": n % 3 + 1} for n in range(count)]
    for n, job in enumerate(client.post(JOBS, json=bodies).get_json()["data"]):
        sql(
            "UPDATE scrape_jobs SET created_at = %s, updated_at = %s WHERE id = %s",
            NOON + timedelta(microseconds=n * 7 % count // 4),
            NOON + timedelta(microseconds=n * 5 % count // 3),
            job["id"],
        )
    return domain


def in_order(
    jobs: list[dict[str, Any]], sort: str, sql_times: dict[str, tuple[datetime, datetime]]
) -> list[str]:
    """Return the ids as the order `sort` has them."""
    keys: dict[str, Callable[[dict[str, Any]], Any]] = {
        "created_at": lambda job: (sql_times[job["id"]][0], job["id"]),
        "updated_at": lambda job: (sql_times[job["id"]][1], job["id"]),
        "priority": lambda job: (-job["priority"], sql_times[job["id"]][0], job["id"]),
    }
    ordered = sorted(jobs, key=keys[sort.removeprefix("-")], reverse=sort.startswith("-"))
    return [job["id"] for job in ordered]


def times(database_url: str, domain: str) -> dict[str, tuple[datetime, datetime]]:
    connection = psycopg2.connect(database_url)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id::text, created_at, updated_at FROM scrape_jobs WHERE domain = %s", [domain]
        )
        found = {row[0]: (row[1], row[2]) for row in cursor.fetchall()}
    connection.close()
    return found


# ---------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "abcdef"),
        ({"status": "pending"}, "ab"),
        ({"status": "running"}, "c"),
        ({"status": "completed"}, "d"),
        ({"status": "failed"}, "e"),
        ({"status": "cancelled"}, "f"),
        ({"status": "pending,failed"}, "abe"),
        ({"status": "failed, pending ,failed"}, "abe"),
        ({"status": "pending,running,completed,failed,cancelled"}, "abcdef"),
        ({"job_type": "one"}, "ac"),
        ({"job_type": "nobody:has.this"}, ""),
        ({"domain": "A"}, "abd"),
        ({"customer_config_id": "C"}, "be"),
        ({"created_after": "2020-06-03T00:00:00Z"}, "def"),
        ({"created_before": "2020-06-03T00:00:00Z"}, "abc"),
        ({"created_after": "2020-06-02T00:00:00Z", "created_before": "2020-06-05T00:00:00Z"}, "cde"),
        ({"created_after": "2020-06-05T00:00:00Z", "created_before": "2020-06-02T00:00:00Z"}, ""),
        ({"created_after": "2020-06-03T12:00:00Z", "created_before": "2020-06-05T12:00:00Z"}, "de"),
        ({"updated_after": "2020-07-03T12:00:00Z"}, "def"),
        ({"updated_before": "2020-07-03T12:00:00Z"}, "abc"),
        ({"updated_after": "2020-07-02T12:00:00.000Z", "updated_before": "2020-07-02T12:00:00.001Z"}, "c"),
        ({"domain": "A", "status": "pending"}, "ab"),
        ({"domain": "A", "job_type": "one"}, "a"),
        ({"domain": "A", "customer_config_id": "C"}, "b"),
        ({"status": "pending,failed", "customer_config_id": "C"}, "be"),
        ({"status": "failed", "job_type": "two", "customer_config_id": "C", "created_after": "2020-06-04T00:00Z"}, "e"),
        (
            {
                "status": "pending,completed", "domain": "A", "job_type": "two", "customer_config_id": "C",
                "created_after": "2020-06-01T00:00Z", "created_before": "2020-06-02T00:00Z",
            },
            "b",
        ),
        ({"status": "cancelled", "domain": "A"}, ""),
    ],
)  # fmt: skip
def test_filters_narrow_alone_and_together(
    client: FlaskClient, sql: Callable[..., None], query: Query, expected: str
) -> None:
    tag, customer = uuid.uuid4().hex, str(uuid.uuid4())
    domains = {"A": new_domain(), "B": new_domain()}
    rows = [
        ("a", "pending", "A", "one", None, 0),
        ("b", "pending", "A", "two", customer, 0),
        ("c", "running", "B", "one", None, 1),
        ("d", "completed", "A", "two", None, 2),
        ("e", "failed", "B", "two", customer, 3),
        ("f", "cancelled", "B", "two", None, 4),
    ]
    names = {}
    for name, status, domain, job_type, customer_id, day in rows:
        job = make_job(
            client,
            status,
            domain=domains[domain],
            job_type=job_type,
            customer_config_id=customer_id,
            metadata={"tags": ["other", tag]},
        )
        created, updated = (
            NOON + timedelta(days=day),
            NOON + timedelta(days=30 + day, microseconds=7),
        )
        sql(
            "UPDATE scrape_jobs SET created_at = %s, updated_at = %s WHERE id = %s",
            created,
            updated,
            job["id"],
        )
        names[job["id"]] = name
    asked = {key: {**domains, "C": customer}.get(value, value) for key, value in query.items()}
    found = get(client, tag=tag, sort="created_at", **asked)["data"]
    assert sorted(names[job["id"]] for job in found) == list(expected)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["T"], True),
        (["x", "T", "y"], True),
        ([["T"]], False),
        (["Tx"], False),
        (["t"], False),
        ([], False),
        ("T", False),
        ({"T": "T"}, False),
        (None, False),
        ([7, None, "T"], True),
    ],
)
def test_a_tag_is_one_of_the_list_in_metadata(client: FlaskClient, tags: Any, found: bool) -> None:
    domain, tag = new_domain(), f"T{uuid.uuid4().hex}"
    written = json.loads(json.dumps(tags).replace("T", tag))
    make_job(
        client, domain=domain, metadata={"tags": written, "other": [tag], "nested": {"tags": [tag]}}
    )
    assert bool(get(client, domain=domain, tag=tag)["data"]) is found
    assert bool(get(client, tag=tag)["data"]) is found


@pytest.mark.parametrize(
    "tag",
    [
        "a b",
        "100%",
        "%s",
        "it's",
        '"quoted"',
        "back\\slash",
        "ünï",
        "\U0001f600",
        "a,b",
        "x" * 200,
        "$.x",
        "a\nb",
    ],
)
def test_a_tag_may_hold_any_characters(client: FlaskClient, tag: str) -> None:
    domain = new_domain()
    job = make_job(client, domain=domain, metadata={"tags": [tag]})
    make_job(client, domain=domain, metadata={"tags": [f"{tag}?"]})
    assert get(client, domain=domain, tag=tag)["data"] == [job]


def test_the_domain_to_filter_by_is_normalised_as_that_of_a_job(client: FlaskClient) -> None:
    name = uuid.uuid4().hex[:12]
    job = make_job(client, domain=f"bücher-{name}.example")
    for written in (f"BÜCHER-{name}.Example", f"bücher-{name}.example.", job["domain"]):
        assert get(client, domain=written)["data"] == [job]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("created_after=2020-06-01T13:00:00+01:00", "bc"),
        ("created_after=2020-06-01T13:00:00%2B01:00", "bc"),
        ("created_after=2020-06-01T07:00:00-05:00", "bc"),
        ("created_after=2020-06-01T12:00:00", "bc"),
        ("created_after=2020-06-01T12:00:00.001Z", "bc"),
        ("created_before=2020-06-01T17:30:00+05:30", "a"),
        ("created_before=2020-06-01t12:00:00z", "a"),
        ("created_after=2020-06-01T15:00:00+03:00&created_before=2020-06-02T15:00:00+03:00", "b"),
    ],
)
def test_a_time_may_have_any_offset_even_with_its_plus_sign_left_as_it_is(
    client: FlaskClient, sql: Callable[..., None], query: str, names: str
) -> None:
    domain = new_domain()
    for name, at in (("a", -12), ("b", 12), ("c", 36)):
        job = make_job(client, domain=domain, metadata={"name": name})
        sql(
            "UPDATE scrape_jobs SET created_at = %s WHERE id = %s",
            NOON + timedelta(hours=at),
            job["id"],
        )
    answer = client.get(f"{JOBS}?domain={domain}&sort=created_at&{query}")
    assert answer.status_code == 200, answer.text
    assert [job["metadata"]["name"] for job in answer.get_json()["data"]] == list(names)


# ----------------------------------------------------------------------------------------------------------- orders


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 4, 13, 50])
def test_following_the_cursors_shows_each_job_once_and_in_order(
    client: FlaskClient, sql: Callable[..., None], database_url: str, sort: str, limit: int
) -> None:
    domain = spread(client, sql, 13)
    shown = list(pages(client, domain=domain, sort=sort, limit=limit))
    assert [len(page) for page in shown[:-1]] == [limit] * (len(shown) - 1)
    assert 1 <= len(shown[-1]) <= limit
    jobs = [job for page in shown for job in page]
    assert len(jobs) == 13
    assert [job["id"] for job in jobs] == in_order(jobs, sort, times(database_url, domain))


@pytest.mark.parametrize(
    "filters",
    [{"status": "pending"}, {"job_type": "domain_scrape"}, {"created_after": "1999-01-01T00:00Z"}],
)
@pytest.mark.parametrize("sort", SORTS)
def test_filters_hold_on_every_page(
    client: FlaskClient, sql: Callable[..., None], sort: str, filters: Query
) -> None:
    domain = spread(client, sql, 7)
    make_job(client, "running", domain=domain, job_type="other")
    jobs = [
        job for page in pages(client, domain=domain, sort=sort, limit=3, **filters) for job in page
    ]
    assert len(jobs) == len({job["id"] for job in jobs}) == (8 if "created_after" in filters else 7)


def test_the_newest_job_comes_first_unless_asked_otherwise(client: FlaskClient) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain) for _ in range(3)]
    assert get(client, domain=domain)["data"] == made[::-1]
    assert get(client, domain=domain, sort="-created_at")["data"] == made[::-1]


def test_priority_means_the_highest_first_and_then_the_oldest(client: FlaskClient) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain, priority=priority) for priority in (5, 10, 1, 10, 5)]
    assert get(client, domain=domain, sort="priority")["data"] == [made[n] for n in (1, 3, 0, 4, 2)]


def test_an_updated_job_moves_to_the_end_of_the_order_by_updates(client: FlaskClient) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain)["id"] for _ in range(3)]
    assert client.put(f"{JOBS}/{made[0]}", json={"stats": {"n": 1}}).status_code == 200
    assert [job["id"] for job in get(client, domain=domain, sort="updated_at")["data"]] == [
        *made[1:],
        made[0],
    ]
    assert [job["id"] for job in get(client, domain=domain, sort="-updated_at")["data"]] == [
        made[0],
        *made[:0:-1],
    ]


# ------------------------------------------------------------------------------------------------------------ pages


def test_a_list_of_nothing_is_an_empty_page(client: FlaskClient) -> None:
    assert get(client, domain=new_domain()) == {
        "success": True,
        "data": [],
        "pagination": {"limit": 50, "next_cursor": None, "has_more": False},
    }


def test_a_page_holds_50_jobs_unless_asked_otherwise(client: FlaskClient) -> None:
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


def test_the_size_of_a_page_may_change_on_the_way(client: FlaskClient) -> None:
    domain = new_domain()
    client.post(JOBS, json=[{"domain": domain}] * 5)
    cursor = next_cursor(client, domain)
    assert len(get(client, domain=domain, limit=4, cursor=cursor)["data"]) == 4


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "priority"])
def test_a_page_shows_no_job_twice_while_jobs_are_added(
    app: Flask, client: FlaskClient, sort: str
) -> None:
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
        assert one_is_there.wait(10)
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
def test_a_job_added_between_two_pages_moves_no_other(
    client: FlaskClient, app: Flask, sort: str
) -> None:
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


def test_a_page_goes_on_where_it_was_though_its_last_job_has_left_the_list(
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


# --------------------------------------------------------------------------------------------------------- refusals


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
def test_a_cursor_that_no_page_gave_is_refused(client: FlaskClient, cursor: str) -> None:
    assert refusal(client, {"cursor": cursor}) == CURSOR


@pytest.mark.parametrize("position", [True, 1.5, "1", None, 2**63, 10**100, [1]])
def test_a_cursor_by_priority_holds_a_whole_number(client: FlaskClient, position: Any) -> None:
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
