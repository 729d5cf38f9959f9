"""The position of a job in the queue, and the limits that hold it back."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from support.factories import make_job, new_domain
from support.queue import (
    JOBS,
    NO_JOB,
    IsolatedQueue,
    application,
    claim,
    data,
    failure,
    get_position,
    job_ids,
)


@pytest.fixture
def limited(database_url: str) -> Iterator[FlaskClient]:
    """A client of an application that runs one job of a domain at a time."""
    with application(database_url, domain_limit=1) as app:
        yield app.test_client()


def test_position_counts_the_jobs_ahead(client: FlaskClient) -> None:
    domain = new_domain()
    first, second = (make_job(client, domain=domain, priority=10) for _ in range(2))
    low = make_job(client, domain=domain, priority=1)
    positions = [get_position(client, job["id"])["position"] for job in (first, second, low)]
    assert positions[0] < positions[1] < positions[2]
    make_job(client, domain=domain, priority=10)
    found = get_position(client, low["id"])
    assert found["reason"] == f"{found['position'] - 1} due jobs come before it"
    assert found["position_is_exact"] is True
    assert (found["due_at"], found["held_back_by"]) == (low["created_at"], None)


def test_positions_follow_the_claim_order(isolated: IsolatedQueue) -> None:
    jobs = [make_job(isolated.client, priority=1 + n % 10) for n in range(12)]
    make_job(isolated.client, priority=10, scheduled_for="2099-01-01T00:00:00Z")
    make_job(isolated.client, "running", priority=10)
    isolated.execute(
        "UPDATE scrape_jobs SET created_at = created_at - interval '37 hours' WHERE id = %s",
        jobs[10]["id"],
    )
    isolated.execute(
        "UPDATE scrape_jobs SET created_at = now() - interval '1 hour' WHERE id = ANY(%s::uuid[])",
        job_ids(jobs[3:6]),
    )
    upcoming = data(isolated.client.get(f"{JOBS}/next?limit=100"))
    assert upcoming[0]["id"] == jobs[10]["id"]
    assert [isolated.position(job)["position"] for job in upcoming] == list(range(1, 13))


def test_position_is_explained_in_a_sentence(isolated: IsolatedQueue) -> None:
    first, second, third = (make_job(isolated.client) for _ in range(3))
    assert isolated.position(first) == {
        "id": first["id"],
        "status": "pending",
        "priority": 5,
        "due_at": first["created_at"],
        "position": 1,
        "position_is_exact": True,
        "held_back_by": None,
        "reason": (
            "The job is the next: it starts when a worker asks for work of its domain and type"
        ),
    }
    assert isolated.position(second)["reason"] == "1 due job comes before it"
    assert isolated.position(third)["reason"] == "2 due jobs come before it"


def test_counting_stops_in_a_long_queue(isolated: IsolatedQueue) -> None:
    isolated.execute(
        """INSERT INTO scrape_jobs
            (id, domain_id, domain, job_type, priority, max_retries, created_at, updated_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 'many.example', 'page', 9, 3, now(), now()
        FROM generate_series(1, 10001)"""
    )
    found = isolated.position(make_job(isolated.client))
    assert (found["position"], found["position_is_exact"]) == (10_001, False)
    assert found["reason"] == "at least 10000 due jobs come before it"


def test_job_that_does_not_wait_says_so(client: FlaskClient) -> None:
    later = make_job(client, scheduled_for="2099-01-01T00:00:00.000Z")
    found = get_position(client, later["id"])
    assert (found["position"], found["due_at"]) == (None, "2099-01-01T00:00:00.000Z")
    assert found["reason"] == "The job is not due before 2099-01-01T00:00:00.000Z"
    done = get_position(client, make_job(client, "completed")["id"])
    assert (done["position"], done["due_at"]) == (None, None)
    assert done["reason"] == "The job is completed, and only pending jobs wait"
    assert failure(client.get(f"{JOBS}/{NO_JOB}/queue")) == (404, "Job not found", None)
    assert failure(client.get(f"{JOBS}/next/queue")) == (400, "Invalid id: must be a UUID", None)


@pytest.mark.parametrize("status", ["running", "completed", "failed", "cancelled"])
def test_job_that_is_not_pending_has_no_position(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    assert data(client.get(f"{JOBS}/{job['id']}/queue")) == {
        "id": job["id"],
        "status": status,
        "priority": 5,
        "due_at": None,
        "position": None,
        "position_is_exact": None,
        "held_back_by": None,
        "reason": f"The job is {status}, and only pending jobs wait",
    }


def test_reached_domain_limit_is_named(limited: FlaskClient) -> None:
    domain = new_domain()
    first, second = (make_job(limited, domain=domain) for _ in range(2))
    assert [job["id"] for job in claim(limited, domain, limit=5)] == [first["id"]]
    found = get_position(limited, second["id"])
    limit = {"limit": "SCRAPE_JOBS_DOMAIN_LIMIT", "domain": domain, "allowed": 1, "running": 1}
    assert found["held_back_by"] == limit
    assert found["reason"] == f"1 job of {domain} is running, and SCRAPE_JOBS_DOMAIN_LIMIT allows 1"
    limited.put(f"{JOBS}/{first['id']}", json={"status": "completed"})
    assert get_position(limited, second["id"])["held_back_by"] is None
    assert [job["id"] for job in claim(limited, domain, limit=5)] == [second["id"]]


def test_own_limit_holds_the_job_back(client: FlaskClient) -> None:
    domain = new_domain()
    polite = {"maxConcurrent": 2}
    jobs = [make_job(client, domain=domain, config=polite) for _ in range(3)]
    assert [job["id"] for job in claim(client, domain, limit=5)] == [job["id"] for job in jobs[:2]]
    assert get_position(client, jobs[2]["id"])["held_back_by"]["limit"] == "config.maxConcurrent"
    bold = make_job(client, domain=domain)
    assert [job["id"] for job in claim(client, domain, limit=5)] == [bold["id"]]


@pytest.mark.parametrize(
    ("domain_limit", "own_limit", "allowed", "limit_name"),
    [
        (2, None, 2, "SCRAPE_JOBS_DOMAIN_LIMIT"),
        (2, 3, 2, "SCRAPE_JOBS_DOMAIN_LIMIT"),
        (2, 1, 1, "config.maxConcurrent"),
        (None, 1, 1, "config.maxConcurrent"),
        (3, None, None, None),
        (None, None, None, None),
        (None, 3, None, None),
    ],
)
def test_lower_limit_holds_the_job_back(
    database_url: str,
    domain_limit: int | None,
    own_limit: int | None,
    allowed: int | None,
    limit_name: str | None,
) -> None:
    with application(database_url, domain_limit=domain_limit) as app:
        client, domain = app.test_client(), new_domain()
        for _ in range(2):
            make_job(client, "running", domain=domain)
        job = make_job(
            client, domain=domain, config={} if own_limit is None else {"maxConcurrent": own_limit}
        )
        found = data(client.get(f"{JOBS}/{job['id']}/queue"))
        if limit_name is None:
            assert found["held_back_by"] is None
            assert job_ids(claim(client, domain)) == [job["id"]]
            return
        assert found["held_back_by"] == {
            "limit": limit_name,
            "domain": domain,
            "allowed": allowed,
            "running": 2,
        }
        assert (
            found["reason"] == f"2 jobs of {domain} are running, and {limit_name} allows {allowed}"
        )
        assert claim(client, domain) == []
        assert data(client.get(f"{JOBS}/next?domains={domain}")) == []


def test_limit_may_be_null(client: FlaskClient) -> None:
    job = make_job(client, config={"maxConcurrent": None})
    assert job_ids(claim(client, job["domain"])) == [job["id"]]


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2", True, [], 2**31])
def test_invalid_limit_is_named(client: FlaskClient, limit: object) -> None:
    job = {"domain": "example.com", "config": {"maxConcurrent": limit}}
    fault = "config.maxConcurrent: must be a positive integer"
    assert failure(client.post(JOBS, json=job)) == (400, f"Invalid {fault}", None)
    assert failure(client.post(JOBS, json=[{"domain": "example.com"}, job])) == (
        400,
        f"Invalid [1].{fault}",
        None,
    )


def test_invalid_limit_is_listed_with_other_faults(client: FlaskClient) -> None:
    job = {"domain": "a b", "config": {"maxConcurrent": 0}}
    details = "Invalid config.maxConcurrent: must be a positive integer"
    error = "Invalid domain: must be a host name such as example.com, without scheme, port or path"
    assert failure(client.post(JOBS, json=job)) == (400, error, details)
