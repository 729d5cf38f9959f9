"""The queue over HTTP: taking jobs, keeping them, giving them back, and asking where one stands."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.config import Settings
from app.factory import create_app
from support.factories import make_job, new_domain, read_all, read_history

JOBS = "/api/scrape-jobs"
NO_JOB = "0190f3a0-0000-7000-8000-000000000000"


def take(client: FlaskClient, domain: str, **fields: Any) -> list[dict[str, Any]]:
    answer = client.post(f"{JOBS}/next", json={"worker_id": "w1", "domains": [domain], **fields})
    assert answer.status_code == 200, answer.text
    jobs: list[dict[str, Any]] = answer.get_json()["data"]
    return jobs


def take_new(
    client: FlaskClient, lease_seconds: int = 60, **fields: Any
) -> tuple[str, dict[str, str]]:
    """Make a job, take it, and return its id and the header with its token."""
    job = make_job(client, **fields)
    (taken,) = take(client, job["domain"], lease_seconds=lease_seconds)
    assert taken["id"] == job["id"]
    return job["id"], {"X-Lease-Token": taken["lease_token"]}


def show(client: FlaskClient, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = client.get(f"{JOBS}/{job_id}").get_json()["data"]
    return job


def actions(client: FlaskClient, job_id: str) -> list[tuple[str, str | None, str]]:
    return [(e["action"], e["old_status"], e["new_status"]) for e in read_history(client, job_id)]


def failure(answer: TestResponse) -> tuple[int, str, str | None]:
    body = answer.get_json()
    assert body["success"] is False
    return answer.status_code, body["error"], body.get("details")


# ------------------------------------------------------------------------------------------------------------- next


def test_jobs_come_by_priority_and_then_by_age(client: FlaskClient) -> None:
    domain = new_domain()
    made = {
        p: [make_job(client, domain=domain, priority=p)["id"] for _ in range(2)] for p in (3, 9, 5)
    }
    expected = [*made[9], *made[5], *made[3]]
    assert [
        job["id"] for job in client.get(f"{JOBS}/next?domains={domain}&limit=9").get_json()["data"]
    ] == expected
    assert [job["id"] for job in take(client, domain, limit=4)] == expected[:4]
    assert [job["id"] for job in take(client, domain, limit=100)] == expected[4:]
    assert take(client, domain) == []


def test_a_job_that_is_taken_runs_under_a_lease_whose_token_no_other_answer_shows(
    client: FlaskClient,
) -> None:
    job = make_job(client)
    (taken,) = take(client, job["domain"], lease_seconds=300)
    token = taken.pop("lease_token")
    assert taken["status"] == "running"
    assert taken["worker_id"] == "w1"
    started, expires = (
        datetime.fromisoformat(taken[name]) for name in ("started_at", "lease_expires_at")
    )
    assert expires - started == timedelta(seconds=300)
    assert show(client, job["id"]) == taken
    assert actions(client, job["id"])[1:] == [("claimed", "pending", "running")]
    answers = (
        f"/{job['id']}",
        f"?domain={job['domain']}",
        f"/{job['id']}/history",
        f"/{job['id']}/queue",
    )
    assert not [path for path in answers if token in client.get(JOBS + path).text]


def test_a_job_is_not_taken_before_it_is_due(client: FlaskClient) -> None:
    job = make_job(client, scheduled_for="2099-01-01T00:00:00Z")
    assert take(client, job["domain"]) == []
    assert client.get(f"{JOBS}/next?domains={job['domain']}").get_json()["data"] == []


def test_a_worker_gets_only_the_types_that_it_asks_for(client: FlaskClient) -> None:
    domain = new_domain()
    make_job(client, domain=domain, job_type="page", priority=9)
    wanted = make_job(client, domain=domain, job_type="sitemap")
    assert [job["id"] for job in take(client, domain, job_types=["sitemap", "feed"], limit=5)] == [
        wanted["id"]
    ]
    shown = client.get(f"{JOBS}/next?domains={domain}&job_types=feed,page&limit=5").get_json()[
        "data"
    ]
    assert [job["job_type"] for job in shown] == ["page"]
    assert all("lease_token" not in job for job in shown)


def test_a_repeated_request_gets_the_same_jobs_and_tokens(client: FlaskClient) -> None:
    domain = new_domain()
    for _ in range(2):
        make_job(client, domain=domain)
    ask = {"worker_id": "w1", "domains": [domain]}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first, second = (client.post(f"{JOBS}/next", json=ask, headers=key) for _ in range(2))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert first.get_json() == second.get_json()
    assert len(first.get_json()["data"]) == 1
    assert len(take(client, domain, limit=5)) == 1


def test_a_worker_s_name_is_sanitised(client: FlaskClient) -> None:
    job = make_job(client)
    (taken,) = take(client, job["domain"], worker_id="w\u202e1 password=hunter2\x07")
    assert taken["worker_id"] == "w1 password=***"
    assert "hunter2" not in client.get(f"{JOBS}/{job['id']}/history").text


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"worker_id": None}, "Invalid worker_id: must be 1 to 200 visible characters"),
        ({"worker_id": "\u200b "}, "Invalid worker_id: must be 1 to 200 visible characters"),
        ({"worker_id": "x" * 201}, "Invalid worker_id: must be 1 to 200 visible characters"),
        ({"limit": 0}, "Invalid limit: must be an integer from 1 to 100"),
        ({"limit": 101}, "Invalid limit: must be an integer from 1 to 100"),
        ({"limit": True}, "Invalid limit: must be an integer from 1 to 100"),
        ({"lease_seconds": 4}, "Invalid lease_seconds: must be an integer from 5 to 3600"),
        ({"lease_seconds": 3601}, "Invalid lease_seconds: must be an integer from 5 to 3600"),
        ({"wait_seconds": 21}, "Invalid wait_seconds: must be an integer from 0 to 20"),
        ({"wait_seconds": -1}, "Invalid wait_seconds: must be an integer from 0 to 20"),
        ({"domains": []}, "Invalid domains: must be null or a list of 1 to 200 host names"),
        (
            {"domains": ["http://x"]},
            "Invalid domains: must be null or a list of 1 to 200 host names",
        ),
        ({"job_types": "page"}, "Invalid job_types: must be null or a list of 1 to 200 job types"),
        ({"wrker": 1}, "Unknown field: wrker"),
    ],
)
def test_what_a_worker_asks_wrongly_is_named(
    client: FlaskClient, fields: dict[str, Any], error: str
) -> None:
    answer = client.post(
        f"{JOBS}/next", json={"worker_id": "w1", "domains": [new_domain()], **fields}
    )
    assert failure(answer) == (400, error, None)


def test_a_worker_has_to_say_who_it_is(client: FlaskClient) -> None:
    answer = client.post(f"{JOBS}/next", json={})
    assert failure(answer) == (400, "Invalid worker_id: must be 1 to 200 visible characters", None)


# ------------------------------------------------------------------------------------------------ signs of life


def test_a_heartbeat_extends_the_lease_and_modifies_nothing(client: FlaskClient) -> None:
    job_id, token = take_new(client, lease_seconds=60)
    before, tag = show(client, job_id), client.get(f"{JOBS}/{job_id}").headers["ETag"]
    answer = client.post(f"{JOBS}/{job_id}/heartbeat", headers=token)
    assert answer.status_code == 200
    after = answer.get_json()["data"]
    assert after["lease_expires_at"] > before["lease_expires_at"]
    assert after == {**before, "lease_expires_at": after["lease_expires_at"]}
    assert len(read_history(client, job_id)) == 2
    assert answer.headers["ETag"] != tag
    assert client.get(f"{JOBS}/{job_id}", headers={"If-None-Match": tag}).status_code == 200
    assert (
        client.get(
            f"{JOBS}/{job_id}", headers={"If-None-Match": answer.headers["ETag"]}
        ).status_code
        == 304
    )
    update = client.put(f"{JOBS}/{job_id}", json={"stats": {"a": 1}}, headers={"If-Match": tag})
    assert update.status_code == 200


def test_a_put_extends_the_lease_if_it_has_the_token(client: FlaskClient) -> None:
    job_id, token = take_new(client)
    before = show(client, job_id)["lease_expires_at"]
    assert (
        client.put(f"{JOBS}/{job_id}", json={"stats": {"a": 1}}).get_json()["data"][
            "lease_expires_at"
        ]
        == before
    )
    after = client.put(f"{JOBS}/{job_id}", json={"stats": {"a": 2}}, headers=token).get_json()[
        "data"
    ]
    assert after["lease_expires_at"] > before
    patched = client.patch(
        f"{JOBS}/{job_id}",
        json={"stats": {"a": 3}},
        headers=token,
        content_type="application/merge-patch+json",
    )
    assert patched.get_json()["data"]["lease_expires_at"] > after["lease_expires_at"]


def test_a_lease_is_kept_by_its_token_alone(client: FlaskClient) -> None:
    job_id, token = take_new(client)
    url, wrong = f"{JOBS}/{job_id}/heartbeat", {"X-Lease-Token": "wrong"}
    missing = "X-Lease-Token must carry the lease_token that came with the job"
    assert failure(client.post(url)) == (409, "Lease lost", missing)
    assert failure(client.post(url, headers=wrong)) == (409, "Lease lost", None)
    assert failure(client.post(f"{JOBS}/{NO_JOB}/heartbeat", headers=token)) == (
        404,
        "Job not found",
        None,
    )
    assert failure(client.post(f"{JOBS}/x/heartbeat", headers=token)) == (
        400,
        "Invalid id: must be a UUID",
        None,
    )
    assert failure(client.post(url, headers=token, json={"x": 1})) == (
        400,
        "Unknown field: x",
        None,
    )
    before = show(client, job_id)
    assert failure(client.put(f"{JOBS}/{job_id}", json={"stats": {"a": 1}}, headers=wrong)) == (
        409,
        "Lease lost",
        None,
    )
    assert show(client, job_id) == before


def test_a_job_that_is_over_has_no_lease(client: FlaskClient) -> None:
    job_id, token = take_new(client)
    done = client.put(f"{JOBS}/{job_id}", json={"status": "completed"}, headers=token)
    assert done.get_json()["data"]["lease_expires_at"] is None
    assert failure(client.post(f"{JOBS}/{job_id}/heartbeat", headers=token)) == (
        409,
        "Lease lost",
        None,
    )
    again = client.put(f"{JOBS}/{job_id}", json={"status": "completed"}, headers=token)
    assert again.status_code == 200


@pytest.mark.parametrize("end", ["completed", "failed"])
@pytest.mark.parametrize(
    "body",
    [
        {"stats": {"a": 1}},
        {"metadata": {"a": 1}, "completed_at": "2001-01-01T00:00:00Z"},
        {"status": "pending"},
    ],
)
def test_when_a_lease_is_over_its_token_changes_nothing_any_more(
    client: FlaskClient, end: str, body: dict[str, Any]
) -> None:
    job_id, token = take_new(client)
    assert client.put(f"{JOBS}/{job_id}", json={"status": end}, headers=token).status_code == 200
    before = read_all(client, job_id)
    assert failure(client.put(f"{JOBS}/{job_id}", json=body, headers=token)) == (
        409,
        "Lease lost",
        None,
    )
    assert read_all(client, job_id) == before


def test_a_worker_that_has_said_that_its_job_failed_may_ask_for_a_retry(
    client: FlaskClient,
) -> None:
    job_id, token = take_new(client)
    client.put(f"{JOBS}/{job_id}", json={"status": "failed"}, headers=token)
    again = client.post(f"{JOBS}/{job_id}/retry", headers=token)
    assert (again.status_code, again.get_json()["data"]["retry_count"]) == (200, 1)


def test_who_has_no_lease_is_not_told_the_version(client: FlaskClient) -> None:
    job_id, _ = take_new(client)
    headers = {"X-Lease-Token": "of-nobody", "If-Match": '"7"'}
    answer = client.put(f"{JOBS}/{job_id}", json={"stats": {}}, headers=headers)
    assert failure(answer) == (409, "Lease lost", None)


# ------------------------------------------------------------------------------------------------------- cancellation


def test_the_worker_of_a_cancelled_job_hears_of_it_which_is_recorded_once(
    client: FlaskClient,
) -> None:
    job_id, token = take_new(client)
    client.delete(f"{JOBS}/{job_id}?reason=enough")
    for _ in range(3):
        answer = client.post(f"{JOBS}/{job_id}/heartbeat", headers=token)
        assert (answer.status_code, answer.get_json()["data"]["status"]) == (200, "cancelled")
    heard = ("cancel_heard", "cancelled", "cancelled")
    assert actions(client, job_id)[2:] == [("cancelled", "running", "cancelled"), heard]


def test_the_worker_of_a_cancelled_job_may_report_once_more(client: FlaskClient) -> None:
    job_id, token = take_new(client)
    client.delete(f"{JOBS}/{job_id}")
    last = client.put(
        f"{JOBS}/{job_id}", json={"stats": {"pages": 7}, "metadata": {"log": "x"}}, headers=token
    )
    assert last.status_code == 200
    assert last.get_json()["data"]["stats"] == {"pages": 7}
    assert last.headers["ETag"] == client.get(f"{JOBS}/{job_id}").headers["ETag"]
    again = client.put(f"{JOBS}/{job_id}", json={"stats": {"pages": 8}}, headers=token)
    assert failure(again) == (409, "Lease lost", None)
    assert show(client, job_id)["stats"] == {"pages": 7}
    assert client.post(f"{JOBS}/{job_id}/heartbeat", headers=token).status_code == 200
    assert [action for action, _, _ in actions(client, job_id)[3:]] == ["updated", "cancel_heard"]


@pytest.mark.parametrize("path", ["", "/retry", "/release"])
def test_a_refusal_tells_of_the_cancellation_too(client: FlaskClient, path: str) -> None:
    job_id, token = take_new(client)
    client.delete(f"{JOBS}/{job_id}")
    url, body = f"{JOBS}/{job_id}{path}", {"status": "completed"}
    answer = client.post(url, headers=token) if path else client.put(url, json=body, headers=token)
    status, error, _ = failure(answer)
    assert status == 400
    assert error.startswith("Cannot transition from 'cancelled' to ")
    assert actions(client, job_id)[-1][0] == "cancel_heard"


# -------------------------------------------------------------------------------------------------------------- retry


def test_a_failed_job_is_retried_now(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    answer = client.post(f"{JOBS}/{job['id']}/retry")
    assert answer.status_code == 200
    assert answer.get_json()["message"] == "Job queued for retry"
    after = answer.get_json()["data"]
    assert (after["status"], after["retry_count"], after["scheduled_for"]) == ("pending", 1, None)
    assert actions(client, job["id"])[-1] == ("retried", "failed", "pending")
    assert [taken["id"] for taken in take(client, job["domain"])] == [job["id"]]


def test_a_failed_job_is_retried_later(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    after = client.post(f"{JOBS}/{job['id']}/retry", json={"delay_seconds": 90}).get_json()["data"]
    waits = datetime.fromisoformat(after["scheduled_for"]) - datetime.fromisoformat(
        after["updated_at"]
    )
    assert waits == timedelta(seconds=90)
    assert take(client, job["domain"]) == []


def test_retries_are_counted_until_they_are_used_up_and_may_be_given_anew(
    client: FlaskClient,
) -> None:
    job = make_job(client, "failed", max_retries=1)
    url = f"{JOBS}/{job['id']}"
    assert client.post(f"{url}/retry").status_code == 200
    for status in ("running", "failed"):
        client.put(url, json={"status": status})
    refused = (
        400,
        "Cannot transition from 'failed' to 'pending'",
        "Maximum retries reached (1 of 1)",
    )
    assert failure(client.post(f"{url}/retry")) == refused
    anew = client.post(f"{url}/retry", json={"reset_retry_count": True})
    assert anew.get_json()["data"]["retry_count"] == 0


@pytest.mark.parametrize("status", ["pending", "running", "completed", "cancelled"])
def test_only_a_failed_job_is_retried(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    error = f"Cannot transition from '{status}' to 'pending'"
    assert failure(client.post(f"{JOBS}/{job['id']}/retry")) == (400, error, None)
    assert show(client, job["id"]) == job


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"delay_seconds": -1}, "Invalid delay_seconds: must be an integer from 0 to 31536000"),
        ({"delay_seconds": 1.5}, "Invalid delay_seconds: must be an integer from 0 to 31536000"),
        ({"reset_retry_count": 1}, "Invalid reset_retry_count: must be true or false"),
        ({"error_message": 7}, "Invalid error_message: must be a string"),
        ({"delay": 7}, "Unknown field: delay"),
    ],
)
def test_what_a_retry_asks_wrongly_is_named(
    client: FlaskClient, fields: dict[str, Any], error: str
) -> None:
    job = make_job(client, "failed")
    assert failure(client.post(f"{JOBS}/{job['id']}/retry", json=fields)) == (400, error, None)


def test_a_worker_gives_its_job_up_in_one_step(client: FlaskClient) -> None:
    job_id, token = take_new(client)
    body = {"error_message": "Blocked by https://u:secret@example.com", "delay_seconds": 30}
    after = client.post(f"{JOBS}/{job_id}/retry", json=body, headers=token).get_json()["data"]
    assert (after["status"], after["retry_count"], after["worker_id"]) == ("pending", 1, None)
    assert after["scheduled_for"] is not None
    steps = [("given_up", "running", "failed"), ("retried", "failed", "pending")]
    assert actions(client, job_id)[2:] == steps
    failed = read_history(client, job_id)[2]["changes"]
    assert failed["error_message"]["to"] == "Blocked by https://***@example.com"
    assert failure(client.post(f"{JOBS}/{job_id}/heartbeat", headers=token)) == (
        409,
        "Lease lost",
        None,
    )


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "given-up"}])
def test_a_worker_that_gives_up_the_last_attempt_leaves_the_job_failed(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id, token = take_new(client, max_retries=0)
    for _ in range(2 if headers else 1):
        answer = client.post(
            f"{JOBS}/{job_id}/retry", json={"error_message": "no"}, headers={**token, **headers}
        )
        error = "Cannot transition from 'failed' to 'pending'"
        assert failure(answer) == (400, error, "Maximum retries reached (0 of 0)")
    after = show(client, job_id)
    assert (after["status"], after["error_message"]) == ("failed", "no")
    assert actions(client, job_id)[2:] == [("given_up", "running", "failed")]


def test_a_worker_that_has_said_that_it_failed_may_retry_with_its_token(
    client: FlaskClient,
) -> None:
    job_id, token = take_new(client)
    client.put(
        f"{JOBS}/{job_id}", json={"status": "failed", "error_message": "boom"}, headers=token
    )
    after = client.post(f"{JOBS}/{job_id}/retry", headers=token).get_json()["data"]
    assert (after["status"], after["retry_count"]) == ("pending", 1)


def test_a_job_is_released_without_counting_a_retry_even_at_its_last_attempt(
    client: FlaskClient,
) -> None:
    job_id, token = take_new(client, max_retries=0)
    answer = client.post(f"{JOBS}/{job_id}/release", headers=token)
    after = answer.get_json()["data"]
    assert (after["status"], after["retry_count"], after["scheduled_for"]) == ("pending", 0, None)
    steps = [("released", "running", "failed"), ("released", "failed", "pending")]
    assert actions(client, job_id)[2:] == steps
    assert (
        read_history(client, job_id)[2]["changes"]["error_message"]["to"] == "Released by worker w1"
    )


def test_only_the_holder_releases(client: FlaskClient) -> None:
    job_id, _ = take_new(client)
    missing = "X-Lease-Token must carry the lease_token that came with the job"
    assert failure(client.post(f"{JOBS}/{job_id}/release")) == (409, "Lease lost", missing)
    wrong = client.post(f"{JOBS}/{job_id}/release", headers={"X-Lease-Token": "wrong"})
    assert failure(wrong) == (409, "Lease lost", None)
    assert show(client, job_id)["status"] == "running"


# -------------------------------------------------------------------------------------------------- place in the queue


@pytest.fixture
def limited(database_url: str) -> Iterator[FlaskClient]:
    """A client of the application with a limit of one job a domain."""
    app: Flask = create_app(
        Settings(auth="off", rate_limit=False, database_url=database_url, domain_limit=1)
    )
    yield app.test_client()
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def place(client: FlaskClient, job_id: str) -> dict[str, Any]:
    answer = client.get(f"{JOBS}/{job_id}/queue")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()["data"]
    return found


def test_a_pending_job_knows_how_many_come_before_it(client: FlaskClient) -> None:
    domain = new_domain()
    first, second = (make_job(client, domain=domain, priority=10) for _ in range(2))
    low = make_job(client, domain=domain, priority=1)
    positions = [place(client, job["id"])["position"] for job in (first, second, low)]
    assert positions[0] < positions[1] < positions[2]
    make_job(client, domain=domain, priority=10)
    found = place(client, low["id"])
    assert found["reason"] == f"{found['position'] - 1} due jobs come before it"
    assert found["position_is_exact"] is True
    assert (found["due_at"], found["held_back_by"]) == (low["created_at"], None)


def test_a_job_that_does_not_wait_for_a_worker_says_so(client: FlaskClient) -> None:
    later = make_job(client, scheduled_for="2099-01-01T00:00:00.000Z")
    found = place(client, later["id"])
    assert (found["position"], found["due_at"]) == (None, "2099-01-01T00:00:00.000Z")
    assert found["reason"] == "The job is not due before 2099-01-01T00:00:00.000Z"
    done = place(client, make_job(client, "completed")["id"])
    assert (done["position"], done["due_at"]) == (None, None)
    assert done["reason"] == "The job is completed, and only pending jobs wait"
    assert failure(client.get(f"{JOBS}/{NO_JOB}/queue")) == (404, "Job not found", None)
    assert failure(client.get(f"{JOBS}/next/queue")) == (400, "Invalid id: must be a UUID", None)


def test_the_limit_that_holds_a_job_back_is_named(limited: FlaskClient) -> None:
    domain = new_domain()
    first, second = (make_job(limited, domain=domain) for _ in range(2))
    assert [job["id"] for job in take(limited, domain, limit=5)] == [first["id"]]
    found = place(limited, second["id"])
    limit = {"limit": "SCRAPE_JOBS_DOMAIN_LIMIT", "domain": domain, "allowed": 1, "running": 1}
    assert found["held_back_by"] == limit
    assert found["reason"] == f"1 job of {domain} is running, and SCRAPE_JOBS_DOMAIN_LIMIT allows 1"
    limited.put(f"{JOBS}/{first['id']}", json={"status": "completed"})
    assert place(limited, second["id"])["held_back_by"] is None
    assert [job["id"] for job in take(limited, domain, limit=5)] == [second["id"]]


def test_a_job_s_own_limit_holds_it_back(client: FlaskClient) -> None:
    domain = new_domain()
    polite = {"maxConcurrent": 2}
    jobs = [make_job(client, domain=domain, config=polite) for _ in range(3)]
    assert [job["id"] for job in take(client, domain, limit=5)] == [job["id"] for job in jobs[:2]]
    assert place(client, jobs[2]["id"])["held_back_by"]["limit"] == "config.maxConcurrent"
    bold = make_job(client, domain=domain)
    assert [job["id"] for job in take(client, domain, limit=5)] == [bold["id"]]


@pytest.mark.parametrize("most", [0, -1, 1.5, "2", True, [], 2**31])
def test_a_limit_that_is_none_is_named(client: FlaskClient, most: object) -> None:
    job = {"domain": "example.com", "config": {"maxConcurrent": most}}
    fault = "config.maxConcurrent: must be a positive integer"
    assert failure(client.post(JOBS, json=job)) == (400, f"Invalid {fault}", None)
    assert failure(client.post(JOBS, json=[{"domain": "example.com"}, job])) == (
        400,
        f"Invalid [1].{fault}",
        None,
    )
