"""Claims over HTTP: which jobs a worker gets, and what a claim changes."""

import uuid
from datetime import datetime, timedelta

import psycopg2
from flask.testing import FlaskClient

from support.factories import make_job, new_domain, read_all, read_history
from support.queue import (
    JOBS,
    Execute,
    claim,
    data,
    failure,
    get_job,
    job_ids,
    lease_job,
    list_actions,
    parse_time,
)


def test_jobs_are_ordered_by_priority_then_age(client: FlaskClient) -> None:
    domain = new_domain()
    made = {
        p: [make_job(client, domain=domain, priority=p)["id"] for _ in range(2)] for p in (3, 9, 5)
    }
    expected = [*made[9], *made[5], *made[3]]
    assert [
        job["id"] for job in client.get(f"{JOBS}/next?domains={domain}&limit=9").get_json()["data"]
    ] == expected
    assert [job["id"] for job in claim(client, domain, limit=4)] == expected[:4]
    assert [job["id"] for job in claim(client, domain, limit=100)] == expected[4:]
    assert claim(client, domain) == []


def test_claim_starts_an_attempt_and_changes_nothing_else(client: FlaskClient) -> None:
    job = make_job(client, config={"depth": 3}, metadata={"tags": ["a"]}, priority=7)
    (claimed,) = claim(client, job["domain"])
    started = claimed["started_at"]
    assert len(claimed.pop("lease_token")) >= 22
    assert parse_time(claimed["lease_expires_at"]) - parse_time(started) == timedelta(seconds=60)
    assert claimed == {
        **job,
        "status": "running",
        "started_at": started,
        "updated_at": started,
        "worker_id": "w1",
        "lease_expires_at": claimed["lease_expires_at"],
        "allowed_transitions": ["completed", "failed", "cancelled"],
    }


def test_claim_records_worker_and_request_in_the_history(client: FlaskClient) -> None:
    job = make_job(client)
    body = {"worker_id": "w7", "domains": [job["domain"]]}
    (claimed,) = data(client.post(f"{JOBS}/next", json=body, headers={"X-Request-ID": "claim-7"}))
    event = read_history(client, job["id"])[-1]
    assert event == {
        "id": 2,
        "at": claimed["started_at"],
        "actor": {"type": "anonymous", "id": None, "name": None},
        "request_id": "claim-7",
        "action": "claimed",
        "old_status": "pending",
        "new_status": "running",
        "changes": {
            "started_at": {"from": None, "to": claimed["started_at"]},
            "worker_id": {"from": None, "to": "w7"},
        },
    }


def test_claimed_job_runs_under_a_secret_lease_token(client: FlaskClient) -> None:
    job = make_job(client)
    (claimed,) = claim(client, job["domain"], lease_seconds=300)
    token = claimed.pop("lease_token")
    assert claimed["status"] == "running"
    assert claimed["worker_id"] == "w1"
    started, expires = (
        datetime.fromisoformat(claimed[name]) for name in ("started_at", "lease_expires_at")
    )
    assert expires - started == timedelta(seconds=300)
    assert get_job(client, job["id"]) == claimed
    assert list_actions(client, job["id"])[1:] == [("claimed", "pending", "running")]
    answers = (
        f"/{job['id']}",
        f"?domain={job['domain']}",
        f"/{job['id']}/history",
        f"/{job['id']}/queue",
    )
    assert not [path for path in answers if token in client.get(JOBS + path).text]


def test_each_claimed_job_has_its_own_token(client: FlaskClient) -> None:
    domain = new_domain()
    for _ in range(5):
        make_job(client, domain=domain)
    first, *others = claim(client, domain, limit=5)
    assert len({job["lease_token"] for job in (first, *others)}) == 5
    stranger = {"X-Lease-Token": others[0]["lease_token"]}
    assert failure(client.post(f"{JOBS}/{first['id']}/heartbeat", headers=stranger)) == (
        409,
        "Lease lost",
        None,
    )


def test_no_other_response_contains_the_token(client: FlaskClient) -> None:
    leased = lease_job(client)
    answers = [
        client.get(leased.path),
        client.get(f"{leased.path}/history"),
        client.get(f"{leased.path}/queue"),
        client.get(f"{JOBS}?domain={leased.job['domain']}"),
        client.get(f"{JOBS}/next?domains={leased.job['domain']}"),
        leased.post("heartbeat"),
        leased.put({"stats": {"a": 1}}),
        leased.patch({"stats": {"a": 2}}),
        leased.post("release"),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert "lease_token" not in answer.text
        assert leased.token not in answer.text


def test_job_is_not_claimed_before_it_is_due(client: FlaskClient) -> None:
    job = make_job(client, scheduled_for="2099-01-01T00:00:00Z")
    assert claim(client, job["domain"]) == []
    assert client.get(f"{JOBS}/next?domains={job['domain']}").get_json()["data"] == []


def test_scheduled_job_is_claimed_once_it_is_due(client: FlaskClient, execute: Execute) -> None:
    job = make_job(client, scheduled_for="2099-01-01T00:00:00Z")
    assert claim(client, job["domain"]) == []
    execute(
        "UPDATE scrape_jobs SET scheduled_for = now() - interval '1 ms' WHERE id = %s", job["id"]
    )
    (claimed,) = claim(client, job["domain"])
    assert (claimed["id"], claimed["scheduled_for"]) == (job["id"], None)


def test_worker_gets_only_the_requested_job_types(client: FlaskClient) -> None:
    domain = new_domain()
    make_job(client, domain=domain, job_type="page", priority=9)
    wanted = make_job(client, domain=domain, job_type="sitemap")
    assert [job["id"] for job in claim(client, domain, job_types=["sitemap", "feed"], limit=5)] == [
        wanted["id"]
    ]
    shown = client.get(f"{JOBS}/next?domains={domain}&job_types=feed,page&limit=5").get_json()[
        "data"
    ]
    assert [job["job_type"] for job in shown] == ["page"]
    assert all("lease_token" not in job for job in shown)


def test_null_accepts_any_job_type(client: FlaskClient) -> None:
    job = make_job(client, job_type="sitemap")
    assert job_ids(claim(client, job["domain"], job_types=None)) == [job["id"]]


def test_domains_match_in_any_notation(client: FlaskClient) -> None:
    name = uuid.uuid4().hex[:12]
    job = make_job(client, domain=f"{name}-bücher.example")
    shown = data(client.get(f"{JOBS}/next", query_string={"domains": f" {name}-BÜCHER.Example. "}))
    assert job_ids(shown) == [job["id"]]
    assert job_ids(claim(client, f"{name}-Bücher.EXAMPLE.")) == [job["id"]]


def test_several_domains_share_one_order(client: FlaskClient) -> None:
    domains = [new_domain() for _ in range(3)]
    made = [
        make_job(client, domain=domain, priority=priority)["id"]
        for priority, domain in enumerate(domains, 4)
    ]
    make_job(client, priority=10)
    assert job_ids(claim(client, "", domains=domains + domains, limit=9)) == made[::-1]


def test_claim_skips_locked_jobs(client: FlaskClient, database_url: str) -> None:
    domain = new_domain()
    first, second = (make_job(client, domain=domain)["id"] for _ in range(2))
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM scrape_jobs WHERE id = %s FOR NO KEY UPDATE", (first,))
        assert job_ids(claim(client, domain, limit=2)) == [second]
    connection.close()
    assert job_ids(claim(client, domain, limit=2)) == [first]


def test_listing_upcoming_jobs_changes_nothing(client: FlaskClient) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain, priority=priority) for priority in (9, 5)]
    before = [read_all(client, job["id"]) for job in made]
    assert data(client.get(f"{JOBS}/next?domains={domain}")) == made[:1]
    assert data(client.get(f"{JOBS}/next?domains={domain}&limit=100")) == made
    assert [read_all(client, job["id"]) for job in made] == before


def test_worker_name_is_sanitised(client: FlaskClient) -> None:
    job = make_job(client)
    (claimed,) = claim(client, job["domain"], worker_id="w\u202e1 password=hunter2\x07")
    assert claimed["worker_id"] == "w1 password=***"
    assert "hunter2" not in client.get(f"{JOBS}/{job['id']}/history").text
