"""Orders of the list."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient

from support.factories import make_job, new_domain
from support.jobs import JOBS, NOON, SORTS, Query, get, pages


def spread(client: FlaskClient, sql: Callable[..., None], count: int) -> str:
    """Insert jobs with equal values in all sort fields, and return their domain."""
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
    """Return the ids in the order of `sort`."""
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


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 4, 13, 50])
def test_pages_show_each_job_once(
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


def test_default_order_is_newest_first(client: FlaskClient) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain) for _ in range(3)]
    assert get(client, domain=domain)["data"] == made[::-1]
    assert get(client, domain=domain, sort="-created_at")["data"] == made[::-1]


def test_priority_order_is_highest_then_oldest(client: FlaskClient) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain, priority=priority) for priority in (5, 10, 1, 10, 5)]
    assert get(client, domain=domain, sort="priority")["data"] == [made[n] for n in (1, 3, 0, 4, 2)]


def test_updated_job_moves_to_the_end(client: FlaskClient) -> None:
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
