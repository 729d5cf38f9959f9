"""Idempotency keys on the requests of workers."""

import uuid

import pytest
from flask.testing import FlaskClient

from app.vault import new_key
from support.factories import make_job, new_domain, read_history
from support.queue import JOBS, Execute, application, claim, data, failure, job_ids, lease_job

STORED_KEY = "encode(sha256(convert_to(%s, 'UTF8')), 'hex')"
"""SQL for the stored form of an idempotency key."""


def test_repeated_claim_returns_same_jobs_and_tokens(client: FlaskClient) -> None:
    domain = new_domain()
    for _ in range(2):
        make_job(client, domain=domain)
    body = {"worker_id": "w1", "domains": [domain]}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first, second = (client.post(f"{JOBS}/next", json=body, headers=key) for _ in range(2))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert first.get_json() == second.get_json()
    assert len(first.get_json()["data"]) == 1
    assert len(claim(client, domain, limit=5)) == 1


def test_key_of_another_request_claims_nothing(client: FlaskClient) -> None:
    domain, key = new_domain(), {"Idempotency-Key": uuid.uuid4().hex}
    for _ in range(2):
        make_job(client, domain=domain)
    body = {"worker_id": "w1", "domains": [domain]}
    data(client.post(f"{JOBS}/next", json=body, headers=key))
    other = client.post(f"{JOBS}/next", json={**body, "worker_id": "w2"}, headers=key)
    assert failure(other) == (422, "Idempotency-Key was used with a different request", None)
    assert len(claim(client, domain, limit=9)) == 1


def test_refused_request_does_not_use_its_key(client: FlaskClient) -> None:
    job, key = make_job(client), {"Idempotency-Key": uuid.uuid4().hex}
    body = {"worker_id": "w1", "domains": [job["domain"]]}
    assert client.post(f"{JOBS}/next", json={**body, "limit": 0}, headers=key).status_code == 400
    assert job_ids(data(client.post(f"{JOBS}/next", json=body, headers=key))) == [job["id"]]


def test_stored_response_encrypts_the_lease_tokens(database_url: str, execute: Execute) -> None:
    with application(database_url, secrets_keys=(new_key(),)) as app:
        client, key = app.test_client(), uuid.uuid4().hex
        job = make_job(client)
        body = {"worker_id": "w1", "domains": [job["domain"]]}
        first, second = (
            client.post(f"{JOBS}/next", json=body, headers={"Idempotency-Key": key})
            for _ in range(2)
        )
        (claimed,) = data(first)
        assert second.data == first.data
        (stored,) = execute(f"SELECT body FROM idempotency_keys WHERE key = {STORED_KEY}", key)
        assert claimed["lease_token"] not in stored[0]


def test_stored_response_needs_its_secrets_key(database_url: str) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    answers = []
    for _ in range(2):
        with application(database_url, secrets_keys=(new_key(),)) as app:
            body = {"worker_id": "w1", "domains": ["nobody.example"]}
            answers.append(app.test_client().post(f"{JOBS}/next", json=body, headers=headers))
    assert answers[0].status_code == 200
    assert answers[1].status_code == 500
    assert answers[1].get_json() == {
        "success": False,
        "error": "Failed to take scrape jobs",
        "details": "The first answer cannot be read: SCRAPE_JOBS_SECRETS_KEY lacks its key",
    }


@pytest.mark.parametrize("action", ["heartbeat", "release", "retry"])
def test_repeated_worker_request_runs_once(client: FlaskClient, action: str) -> None:
    leased, key = lease_job(client), uuid.uuid4().hex
    first = leased.post(action, headers={"Idempotency-Key": key})
    again = leased.post(action, headers={"Idempotency-Key": key})
    assert first.status_code == 200
    assert (again.data, again.headers["ETag"]) == (first.data, first.headers["ETag"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(read_history(client, leased.job["id"])) == (2 if action == "heartbeat" else 4)
