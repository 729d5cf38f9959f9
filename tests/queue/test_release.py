"""Releases: a worker returns a running job unfinished."""

from flask.testing import FlaskClient

from support.factories import read_all, read_history
from support.queue import (
    JOBS,
    claim,
    claim_new_job,
    data,
    failure,
    get_job,
    lease_job,
    list_actions,
)


def test_released_job_is_claimable_at_once(client: FlaskClient) -> None:
    leased = lease_job(client)
    data(leased.put({"retry_count": 3}))
    answer = leased.post("release")
    assert answer.get_json()["message"] == "Job released successfully"
    after = data(answer)
    assert (after["status"], after["retry_count"], after["scheduled_for"]) == ("pending", 3, None)
    assert (after["worker_id"], after["lease_expires_at"], after["error_message"]) == (
        None,
        None,
        None,
    )
    (claimed,) = claim(client, leased.job["domain"], worker_id="w2")
    assert claimed["lease_token"] != leased.token
    for late in (
        leased.post("heartbeat"),
        leased.post("release"),
        leased.put({"status": "completed"}),
    ):
        assert failure(late) == (409, "Lease lost", None)
    assert leased.show()["worker_id"] == "w2"


def test_release_counts_no_retry(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client, max_retries=0)
    answer = client.post(f"{JOBS}/{job_id}/release", headers=token)
    after = answer.get_json()["data"]
    assert (after["status"], after["retry_count"], after["scheduled_for"]) == ("pending", 0, None)
    steps = [("released", "running", "failed"), ("released", "failed", "pending")]
    assert list_actions(client, job_id)[2:] == steps
    assert (
        read_history(client, job_id)[2]["changes"]["error_message"]["to"] == "Released by worker w1"
    )


def test_release_requires_the_token(client: FlaskClient) -> None:
    job_id, _ = claim_new_job(client)
    missing = "X-Lease-Token must carry the lease_token that came with the job"
    assert failure(client.post(f"{JOBS}/{job_id}/release")) == (409, "Lease lost", missing)
    wrong = client.post(f"{JOBS}/{job_id}/release", headers={"X-Lease-Token": "wrong"})
    assert failure(wrong) == (409, "Lease lost", None)
    assert get_job(client, job_id)["status"] == "running"


def test_finished_job_is_not_released(client: FlaskClient) -> None:
    leased = lease_job(client)
    data(leased.put({"status": "failed"}))
    before = read_all(client, leased.job["id"])
    assert leased.post("release").status_code in (400, 409)
    assert read_all(client, leased.job["id"]) == before
