"""Leases: the requests that extend them, and the lease tokens that those require."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.factories import make_job, read_all, read_history
from support.queue import (
    JOBS,
    NO_JOB,
    Execute,
    LeasedJob,
    claim_new_job,
    data,
    failure,
    get_job,
    lease_job,
    parse_time,
)

NO_TOKEN = "X-Lease-Token must carry the lease_token that came with the job"


@pytest.fixture
def age_lease(execute: Execute) -> Callable[[LeasedJob], str]:
    """Move the end of a lease 30 s back, and return it as the API shows it."""

    def age_lease(leased: LeasedJob) -> str:
        execute(
            "UPDATE scrape_jobs SET lease_expires_at = lease_expires_at - interval '30 s'"
            " WHERE id = %s",
            leased.job["id"],
        )
        return str(leased.show()["lease_expires_at"])

    return age_lease


EXTENDING_REQUESTS: dict[str, Callable[[LeasedJob], TestResponse]] = {
    "heartbeat": lambda leased: leased.post("heartbeat"),
    "stats": lambda leased: leased.put({"stats": {"a": 1}}),
    "metadata": lambda leased: leased.put({"metadata": {"a": 1}}),
    "error_message": lambda leased: leased.put({"error_message": "slow"}),
    "the same status": lambda leased: leased.put({"status": "running"}),
    "patch": lambda leased: leased.patch({"stats": {"a": None}}),
}


@pytest.mark.parametrize("request_name", EXTENDING_REQUESTS)
def test_worker_request_extends_the_whole_lease(
    client: FlaskClient, age_lease: Callable[[LeasedJob], str], request_name: str
) -> None:
    leased = lease_job(client)
    before = age_lease(leased)
    after = data(EXTENDING_REQUESTS[request_name](leased))
    assert (
        timedelta(seconds=30)
        <= parse_time(after["lease_expires_at"]) - parse_time(before)
        < timedelta(seconds=60)
    )
    assert leased.show() == after


def test_heartbeat_extends_the_lease_and_nothing_else(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client, lease_seconds=60)
    before, tag = get_job(client, job_id), client.get(f"{JOBS}/{job_id}").headers["ETag"]
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


def test_put_with_token_extends_the_lease(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client)
    before = get_job(client, job_id)["lease_expires_at"]
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


@pytest.mark.parametrize("body", [{"stats": {"a": 1}}, {"status": "running"}])
def test_change_without_token_does_not_extend_the_lease(
    client: FlaskClient, age_lease: Callable[[LeasedJob], str], body: dict[str, Any]
) -> None:
    leased = lease_job(client)
    before = age_lease(leased)
    assert data(client.put(leased.path, json=body))["lease_expires_at"] == before


def test_heartbeat_changes_the_etag_but_no_version(
    client: FlaskClient, age_lease: Callable[[LeasedJob], str]
) -> None:
    leased = lease_job(client)
    old = client.get(leased.path).headers["ETag"]
    version, _, _ = old.partition("-")
    age_lease(leased)
    extended = leased.post("heartbeat").headers["ETag"]
    assert extended != old
    assert extended.partition("-")[0] == version
    assert client.get(leased.path, headers={"If-None-Match": old}).status_code == 200
    known = client.get(leased.path, headers={"If-None-Match": f'"x", W/{extended}'})
    assert (known.status_code, known.data, known.headers["ETag"]) == (304, b"", extended)


def test_if_match_survives_heartbeats_but_not_changes(
    client: FlaskClient, age_lease: Callable[[LeasedJob], str]
) -> None:
    leased = lease_job(client)
    tag = client.get(leased.path).headers["ETag"]
    age_lease(leased)
    leased.post("heartbeat")
    assert leased.put({"stats": {"a": 1}}, headers={"If-Match": tag}).status_code == 200
    assert failure(leased.put({"stats": {"a": 2}}, headers={"If-Match": tag})) == (
        412,
        "Job was modified",
        None,
    )
    assert leased.show()["stats"] == {"a": 1}


def test_only_the_token_extends_a_lease(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client)
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
    before = get_job(client, job_id)
    assert failure(client.put(f"{JOBS}/{job_id}", json={"stats": {"a": 1}}, headers=wrong)) == (
        409,
        "Lease lost",
        None,
    )
    assert get_job(client, job_id) == before


def test_finished_job_has_no_lease(client: FlaskClient) -> None:
    job_id, token = claim_new_job(client)
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
def test_token_of_a_finished_job_changes_nothing(
    client: FlaskClient, end: str, body: dict[str, Any]
) -> None:
    job_id, token = claim_new_job(client)
    assert client.put(f"{JOBS}/{job_id}", json={"status": end}, headers=token).status_code == 200
    before = read_all(client, job_id)
    assert failure(client.put(f"{JOBS}/{job_id}", json=body, headers=token)) == (
        409,
        "Lease lost",
        None,
    )
    assert read_all(client, job_id) == before


def test_wrong_token_does_not_reveal_the_version(client: FlaskClient) -> None:
    job_id, _ = claim_new_job(client)
    headers = {"X-Lease-Token": "of-nobody", "If-Match": '"7"'}
    answer = client.put(f"{JOBS}/{job_id}", json={"stats": {}}, headers=headers)
    assert failure(answer) == (409, "Lease lost", None)


WRONG_TOKENS = ["wrong", "", " ", "a b", "x" * 256, "Ä"]


@pytest.mark.parametrize("token", WRONG_TOKENS)
@pytest.mark.parametrize("action", ["heartbeat", "release", "retry", "put", "patch", "delete"])
def test_wrong_token_changes_nothing(client: FlaskClient, action: str, token: str) -> None:
    leased = lease_job(client)
    stranger = LeasedJob(client, leased.job, token)
    before = read_all(client, leased.job["id"])
    headers = {"X-Lease-Token": token}
    match action:
        case "put":
            answer = stranger.put({"status": "completed", "stats": {"lost": 1}})
        case "patch":
            answer = stranger.patch({"status": "completed", "stats": {"lost": 1}})
        case "delete":
            answer = client.delete(leased.path, headers=headers)
        case _:
            answer = stranger.post(action)
    assert failure(answer) == (409, "Lease lost", None)
    assert read_all(client, leased.job["id"]) == before


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_finished_job_refuses_heartbeats(client: FlaskClient, status: str) -> None:
    leased = lease_job(client)
    data(leased.put({"status": status}))
    before = read_all(client, leased.job["id"])
    assert failure(leased.post("heartbeat")) == (409, "Lease lost", None)
    assert read_all(client, leased.job["id"]) == before


def test_job_without_lease_refuses_heartbeats(client: FlaskClient) -> None:
    leased = LeasedJob(client, make_job(client, "running"), "token")
    assert failure(leased.post("heartbeat")) == (409, "Lease lost", None)
    assert failure(leased.post("release")) == (409, "Lease lost", None)


@pytest.mark.parametrize("action", ["heartbeat", "release", "retry"])
def test_unknown_job_is_not_found(client: FlaskClient, action: str) -> None:
    unknown = LeasedJob(client, {"id": NO_JOB}, "token")
    assert failure(unknown.post(action)) == (404, "Job not found", None)
    assert failure(LeasedJob(client, {"id": "x"}, "token").post(action)) == (
        400,
        "Invalid id: must be a UUID",
        None,
    )


@pytest.mark.parametrize("action", ["heartbeat", "release"])
def test_missing_token_is_explained(client: FlaskClient, action: str) -> None:
    leased = lease_job(client)
    assert failure(client.post(f"{leased.path}/{action}")) == (409, "Lease lost", NO_TOKEN)


@pytest.mark.parametrize("body", [[], "now", 5])
@pytest.mark.parametrize("action", ["retry", "release", "heartbeat"])
def test_optional_body_must_be_an_object(client: FlaskClient, action: str, body: Any) -> None:
    leased = lease_job(client)
    headers = {"X-Lease-Token": leased.token, "Content-Type": "application/json"}
    answer = client.post(f"{leased.path}/{action}", data=json.dumps(body), headers=headers)
    assert failure(answer) == (400, "Invalid body: must be a JSON object", None)
    plain = client.post(
        f"{leased.path}/{action}", data="x", headers={**headers, "Content-Type": "text/plain"}
    )
    assert plain.status_code == 415
    assert leased.show()["status"] == "running"
