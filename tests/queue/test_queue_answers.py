"""The queue's answers to the letter: what each one changes, what it leaves alone, and what it makes
known to whom."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.config import Settings
from app.factory import create_app
from app.queue import sweeper
from app.vault import new_key
from support.database import migrate, new_database
from support.factories import make_job, new_domain, read_all, read_history
from support.service import own_work

JOBS = "/api/scrape-jobs"
STORED = "encode(sha256(convert_to(%s, 'UTF8')), 'hex')"
"""SQL for what is kept of an idempotency key."""
NO_JOB = "0190f3a0-0000-7000-8000-000000000000"
HOUR = timedelta(hours=1)
NO_TOKEN = "X-Lease-Token must carry the lease_token that came with the job"
PATCH = "application/merge-patch+json"
NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Held:
    """A job that a worker holds."""

    client: FlaskClient
    job: dict[str, Any]
    token: str

    @property
    def path(self) -> str:
        return f"{JOBS}/{self.job['id']}"

    def put(self, body: dict[str, Any], headers: Mapping[str, str] = NONE) -> TestResponse:
        return self.client.put(
            self.path, json=body, headers={"X-Lease-Token": self.token, **headers}
        )

    def patch(self, body: dict[str, Any]) -> TestResponse:
        headers = {"X-Lease-Token": self.token, "Content-Type": PATCH}
        return self.client.patch(self.path, data=json.dumps(body), headers=headers)

    def post(
        self, what: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] = NONE
    ) -> TestResponse:
        headers = {"X-Lease-Token": self.token, **headers}
        return self.client.post(f"{self.path}/{what}", json=body, headers=headers)

    def cancel(self) -> None:
        assert self.client.delete(self.path).status_code == 200

    def now(self) -> dict[str, Any]:
        job: dict[str, Any] = data(self.client.get(self.path))
        return job

    def heard(self) -> int:
        return [event["action"] for event in read_history(self.client, self.job["id"])].count(
            "cancel_heard"
        )


def data(answer: TestResponse) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.get_json()["data"]


def take(client: FlaskClient, domain: str, **fields: Any) -> list[dict[str, Any]]:
    body = {"worker_id": "w1", "domains": [domain], **fields}
    jobs: list[dict[str, Any]] = data(client.post(f"{JOBS}/next", json=body))
    return jobs


def hold(client: FlaskClient, lease_seconds: int = 60, **fields: Any) -> Held:
    domain = make_job(client, **fields)["domain"]
    (job,) = take(client, domain, lease_seconds=lease_seconds)
    return Held(client, job, job["lease_token"])


def refusal(answer: TestResponse) -> tuple[int, str, str | None]:
    body = answer.get_json()
    assert set(body) <= {"success", "error", "details"}
    assert body["success"] is False
    return answer.status_code, body["error"], body.get("details")


def ids(jobs: list[dict[str, Any]]) -> list[str]:
    return [job["id"] for job in jobs]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@contextmanager
def application(url: str, **settings: Any) -> Iterator[Flask]:
    app = create_app(Settings(database_url=url, auth="off", rate_limit=False, **settings))
    yield app
    with own_work(app):
        app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def execute(database_url: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Run a statement past the service."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True

    def execute(sql: str, *values: object) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    yield execute
    connection.close()


# --------------------------------------------------------------------------------------------------------------- next


def test_a_claim_changes_what_starts_an_attempt_and_nothing_else(client: FlaskClient) -> None:
    job = make_job(client, config={"depth": 3}, metadata={"tags": ["a"]}, priority=7)
    (taken,) = take(client, job["domain"])
    started = taken["started_at"]
    assert len(taken.pop("lease_token")) >= 22
    assert moment(taken["lease_expires_at"]) - moment(started) == timedelta(seconds=60)
    assert taken == {
        **job,
        "status": "running",
        "started_at": started,
        "updated_at": started,
        "worker_id": "w1",
        "lease_expires_at": taken["lease_expires_at"],
        "allowed_transitions": ["completed", "failed", "cancelled"],
    }


def test_a_claim_is_in_the_history_with_its_worker_and_request(client: FlaskClient) -> None:
    job = make_job(client)
    body = {"worker_id": "w7", "domains": [job["domain"]]}
    (taken,) = data(client.post(f"{JOBS}/next", json=body, headers={"X-Request-ID": "claim-7"}))
    event = read_history(client, job["id"])[-1]
    assert event == {
        "id": 2,
        "at": taken["started_at"],
        "actor": {"type": "anonymous", "id": None, "name": None},
        "request_id": "claim-7",
        "action": "claimed",
        "old_status": "pending",
        "new_status": "running",
        "changes": {
            "started_at": {"from": None, "to": taken["started_at"]},
            "worker_id": {"from": None, "to": "w7"},
        },
    }


def test_every_job_of_one_answer_has_a_token_of_its_own(client: FlaskClient) -> None:
    domain = new_domain()
    for _ in range(5):
        make_job(client, domain=domain)
    first, *others = take(client, domain, limit=5)
    assert len({job["lease_token"] for job in (first, *others)}) == 5
    stranger = {"X-Lease-Token": others[0]["lease_token"]}
    assert refusal(client.post(f"{JOBS}/{first['id']}/heartbeat", headers=stranger)) == (
        409,
        "Lease lost",
        None,
    )


def test_the_token_is_in_no_other_answer(client: FlaskClient) -> None:
    held = hold(client)
    answers = [
        client.get(held.path),
        client.get(f"{held.path}/history"),
        client.get(f"{held.path}/queue"),
        client.get(f"{JOBS}?domain={held.job['domain']}"),
        client.get(f"{JOBS}/next?domains={held.job['domain']}"),
        held.post("heartbeat"),
        held.put({"stats": {"a": 1}}),
        held.patch({"stats": {"a": 2}}),
        held.post("release"),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert "lease_token" not in answer.text
        assert held.token not in answer.text


def test_a_scheduled_job_is_taken_as_soon_as_it_is_due(
    client: FlaskClient, execute: Callable[..., list[tuple[Any, ...]]]
) -> None:
    job = make_job(client, scheduled_for="2099-01-01T00:00:00Z")
    assert take(client, job["domain"]) == []
    execute(
        "UPDATE scrape_jobs SET scheduled_for = now() - interval '1 ms' WHERE id = %s", job["id"]
    )
    (taken,) = take(client, job["domain"])
    assert (taken["id"], taken["scheduled_for"]) == (job["id"], None)


def test_host_names_are_asked_for_in_any_of_their_forms(client: FlaskClient) -> None:
    name = uuid.uuid4().hex[:12]
    job = make_job(client, domain=f"{name}-bücher.example")
    shown = data(client.get(f"{JOBS}/next", query_string={"domains": f" {name}-BÜCHER.Example. "}))
    assert ids(shown) == [job["id"]]
    assert ids(take(client, f"{name}-Bücher.EXAMPLE.")) == [job["id"]]


def test_null_stands_for_any_type(client: FlaskClient) -> None:
    job = make_job(client, job_type="sitemap")
    assert ids(take(client, job["domain"], job_types=None)) == [job["id"]]


def test_several_domains_share_one_order(client: FlaskClient) -> None:
    domains = [new_domain() for _ in range(3)]
    made = [
        make_job(client, domain=domain, priority=priority)["id"]
        for priority, domain in enumerate(domains, 4)
    ]
    make_job(client, priority=10)
    assert ids(take(client, "", domains=domains + domains, limit=9)) == made[::-1]


def test_what_somebody_else_holds_locked_is_passed_over(
    client: FlaskClient, database_url: str
) -> None:
    domain = new_domain()
    first, second = (make_job(client, domain=domain)["id"] for _ in range(2))
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM scrape_jobs WHERE id = %s FOR NO KEY UPDATE", (first,))
        assert ids(take(client, domain, limit=2)) == [second]
    connection.close()
    assert ids(take(client, domain, limit=2)) == [first]


def test_looking_at_what_comes_next_changes_nothing(client: FlaskClient) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain, priority=priority) for priority in (9, 5)]
    before = [read_all(client, job["id"]) for job in made]
    assert data(client.get(f"{JOBS}/next?domains={domain}")) == made[:1]
    assert data(client.get(f"{JOBS}/next?domains={domain}&limit=100")) == made
    assert [read_all(client, job["id"]) for job in made] == before


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 1, "lease_seconds": 5, "wait_seconds": 0},
        {"limit": 100, "lease_seconds": 3600},
        {"worker_id": "x" * 200},
        {"worker_id": " \t w \n "},
        {"domains": [f"d{n}.example" for n in range(200)]},
        {"job_types": [f"t{n}" for n in range(200)]},
        {"job_types": ["a" * 64, "a.b:c-d_e"]},
    ],
    ids=str,
)
def test_what_is_just_within_the_limits_is_taken(
    client: FlaskClient, fields: dict[str, Any]
) -> None:
    body = {"worker_id": "w1", "domains": [new_domain()], **fields}
    assert data(client.post(f"{JOBS}/next", json=body)) == []


MUST = {
    "worker_id": "be 1 to 200 visible characters",
    "job_types": "be null or a list of 1 to 200 job types",
    "domains": "be null or a list of 1 to 200 host names",
    "limit": "be an integer from 1 to 100",
    "lease_seconds": "be an integer from 5 to 3600",
    "wait_seconds": "be an integer from 0 to 20",
}
WRONG: dict[str, list[Any]] = {
    "worker_id": ["", 1, [], {}, True, "\x1b\u202e", "w" * 199 + " w"],
    "job_types": [
        [],
        {},
        1,
        "page",
        [""],
        ["a b"],
        ["a" * 65],
        [None],
        [["a"]],
        ["ü"],
        ["a"] * 201,
    ],
    "domains": [
        [],
        {},
        1,
        "example.com",
        [""],
        ["a b.example"],
        ["example.com:80"],
        ["127.0.0.256"],
        [None],
        ["a"] * 201,
    ],
    "limit": [None, 0, 101, -1, 1.0, "1", True, 10**30, [1]],
    "lease_seconds": [None, 4, 3601, 0, 60.0, "60", False],
    "wait_seconds": [None, -1, 21, 0.5, "0", True],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in WRONG for value in WRONG[field]], ids=repr
)
def test_each_field_says_what_it_must_be(client: FlaskClient, field: str, value: Any) -> None:
    body = {"worker_id": "w1", "domains": [new_domain()], field: value}
    assert refusal(client.post(f"{JOBS}/next", json=body)) == (
        400,
        f"Invalid {field}: must {MUST[field]}",
        None,
    )


def test_several_faults_are_told_in_the_order_of_the_fields(client: FlaskClient) -> None:
    body = {
        "wait": 1,
        "wait_seconds": 21,
        "lease_seconds": 4,
        "limit": 0,
        "domains": 1,
        "job_types": 1,
    }
    first, *rest = [f"Invalid {field}: must {phrase}" for field, phrase in MUST.items()]
    details = "; ".join([*rest, "Unknown field: wait"])
    assert refusal(client.post(f"{JOBS}/next", json=body)) == (400, first, details)


@pytest.mark.parametrize("body", [[], "w1", 1, None, [{"worker_id": "w1"}]])
def test_who_asks_for_work_sends_an_object(client: FlaskClient, body: Any) -> None:
    answer = client.post(f"{JOBS}/next", data=json.dumps(body), content_type="application/json")
    assert refusal(answer) == (400, "Invalid body: must be a JSON object", None)


def test_who_asks_for_work_sends_json(client: FlaskClient) -> None:
    assert client.post(f"{JOBS}/next", data="worker_id=w1").status_code == 415
    assert client.post(f"{JOBS}/next", data="{", content_type="application/json").status_code == 400


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", "Invalid limit: must be an integer from 1 to 100"),
        ("limit=101", "Invalid limit: must be an integer from 1 to 100"),
        ("limit=", "Invalid limit: must be an integer from 1 to 100"),
        ("limit=1&limit=2", "Invalid limit: must be given once"),
        ("domains=", "Invalid domains: must be null or a list of 1 to 200 host names"),
        (
            "domains=a.example,,b.example",
            "Invalid domains: must be null or a list of 1 to 200 host names",
        ),
        ("job_types=a%20b", "Invalid job_types: must be null or a list of 1 to 200 job types"),
        ("worker_id=w1", "Unknown field: worker_id"),
    ],
)
def test_a_look_that_is_asked_for_wrongly_is_refused(
    client: FlaskClient, query: str, error: str
) -> None:
    assert refusal(client.get(f"{JOBS}/next?{query}")) == (400, error, None)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_next_is_no_job(client: FlaskClient, method: str) -> None:
    assert client.open(f"{JOBS}/next", method=method, json={"status": "running"}).status_code in (
        400,
        405,
    )


# -------------------------------------------------------------------------------------------------------- repetitions


def test_a_key_with_another_request_is_refused_and_takes_nothing(client: FlaskClient) -> None:
    domain, key = new_domain(), {"Idempotency-Key": uuid.uuid4().hex}
    for _ in range(2):
        make_job(client, domain=domain)
    body = {"worker_id": "w1", "domains": [domain]}
    data(client.post(f"{JOBS}/next", json=body, headers=key))
    other = client.post(f"{JOBS}/next", json={**body, "worker_id": "w2"}, headers=key)
    assert refusal(other) == (422, "Idempotency-Key was used with a different request", None)
    assert len(take(client, domain, limit=9)) == 1


def test_a_refused_request_does_not_use_its_key_up(client: FlaskClient) -> None:
    job, key = make_job(client), {"Idempotency-Key": uuid.uuid4().hex}
    body = {"worker_id": "w1", "domains": [job["domain"]]}
    assert client.post(f"{JOBS}/next", json={**body, "limit": 0}, headers=key).status_code == 400
    assert ids(data(client.post(f"{JOBS}/next", json=body, headers=key))) == [job["id"]]


def test_a_kept_answer_shows_its_tokens_to_nobody_who_reads_the_table(
    database_url: str, execute: Callable[..., list[tuple[Any, ...]]]
) -> None:
    with application(database_url, secrets_keys=(new_key(),)) as app:
        client, key = app.test_client(), uuid.uuid4().hex
        job = make_job(client)
        body = {"worker_id": "w1", "domains": [job["domain"]]}
        first, second = (
            client.post(f"{JOBS}/next", json=body, headers={"Idempotency-Key": key})
            for _ in range(2)
        )
        (taken,) = data(first)
        assert second.data == first.data
        (kept,) = execute(f"SELECT body FROM idempotency_keys WHERE key = {STORED}", key)
        assert taken["lease_token"] not in kept[0]


def test_a_kept_answer_whose_key_is_gone_is_not_made_up(database_url: str) -> None:
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


@pytest.mark.parametrize("what", ["heartbeat", "release", "retry"])
def test_a_repeated_request_of_a_worker_is_done_once(client: FlaskClient, what: str) -> None:
    held, key = hold(client), uuid.uuid4().hex
    first = held.post(what, headers={"Idempotency-Key": key})
    again = held.post(what, headers={"Idempotency-Key": key})
    assert first.status_code == 200
    assert (again.data, again.headers["ETag"]) == (first.data, first.headers["ETag"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(read_history(client, held.job["id"])) == (2 if what == "heartbeat" else 4)


# ------------------------------------------------------------------------------------------------------- signs of life


@pytest.fixture
def shorten(execute: Callable[..., list[tuple[Any, ...]]]) -> Callable[[Held], str]:
    """Let half a minute of a lease pass, and return what its end is shown as."""

    def shorten(held: Held) -> str:
        pass_by = "UPDATE scrape_jobs SET lease_expires_at = lease_expires_at - interval '30 s' WHERE id = %s"
        execute(pass_by, held.job["id"])
        return str(held.now()["lease_expires_at"])

    return shorten


SIGNS: dict[str, Callable[[Held], TestResponse]] = {
    "heartbeat": lambda held: held.post("heartbeat"),
    "stats": lambda held: held.put({"stats": {"a": 1}}),
    "metadata": lambda held: held.put({"metadata": {"a": 1}}),
    "error_message": lambda held: held.put({"error_message": "slow"}),
    "the same status": lambda held: held.put({"status": "running"}),
    "patch": lambda held: held.patch({"stats": {"a": None}}),
}


@pytest.mark.parametrize("sign", SIGNS)
def test_a_sign_of_life_makes_the_lease_last_its_whole_length_again(
    client: FlaskClient, shorten: Callable[[Held], str], sign: str
) -> None:
    held = hold(client)
    before = shorten(held)
    after = data(SIGNS[sign](held))
    assert (
        timedelta(seconds=30)
        <= moment(after["lease_expires_at"]) - moment(before)
        < timedelta(seconds=60)
    )
    assert held.now() == after


@pytest.mark.parametrize("body", [{"stats": {"a": 1}}, {"status": "running"}])
def test_a_change_without_the_token_is_no_sign_of_life(
    client: FlaskClient, shorten: Callable[[Held], str], body: dict[str, Any]
) -> None:
    held = hold(client)
    before = shorten(held)
    assert data(client.put(held.path, json=body))["lease_expires_at"] == before


def test_a_heartbeat_has_an_etag_of_its_own_and_no_version(
    client: FlaskClient, shorten: Callable[[Held], str]
) -> None:
    held = hold(client)
    old = client.get(held.path).headers["ETag"]
    version, _, _ = old.partition("-")
    shorten(held)
    beaten = held.post("heartbeat").headers["ETag"]
    assert beaten != old
    assert beaten.partition("-")[0] == version
    assert client.get(held.path, headers={"If-None-Match": old}).status_code == 200
    known = client.get(held.path, headers={"If-None-Match": f'"x", W/{beaten}'})
    assert (known.status_code, known.data, known.headers["ETag"]) == (304, b"", beaten)


def test_a_condition_on_the_version_holds_past_heartbeats_and_fails_past_changes(
    client: FlaskClient, shorten: Callable[[Held], str]
) -> None:
    held = hold(client)
    tag = client.get(held.path).headers["ETag"]
    shorten(held)
    held.post("heartbeat")
    assert held.put({"stats": {"a": 1}}, headers={"If-Match": tag}).status_code == 200
    assert refusal(held.put({"stats": {"a": 2}}, headers={"If-Match": tag})) == (
        412,
        "Job was modified",
        None,
    )
    assert held.now()["stats"] == {"a": 1}


WRONG_TOKENS = ["wrong", "", " ", "a b", "x" * 256, "Ä"]


@pytest.mark.parametrize("token", WRONG_TOKENS)
@pytest.mark.parametrize("what", ["heartbeat", "release", "retry", "put", "patch", "delete"])
def test_a_wrong_token_does_nothing(client: FlaskClient, what: str, token: str) -> None:
    held = hold(client)
    stranger = Held(client, held.job, token)
    before = read_all(client, held.job["id"])
    headers = {"X-Lease-Token": token}
    match what:
        case "put":
            answer = stranger.put({"status": "completed", "stats": {"lost": 1}})
        case "patch":
            answer = stranger.patch({"status": "completed", "stats": {"lost": 1}})
        case "delete":
            answer = client.delete(held.path, headers=headers)
        case _:
            answer = stranger.post(what)
    assert refusal(answer) == (409, "Lease lost", None)
    assert read_all(client, held.job["id"]) == before


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_job_whose_attempt_is_over_takes_no_heartbeat(client: FlaskClient, status: str) -> None:
    held = hold(client)
    data(held.put({"status": status}))
    before = read_all(client, held.job["id"])
    assert refusal(held.post("heartbeat")) == (409, "Lease lost", None)
    assert read_all(client, held.job["id"]) == before


def test_a_job_that_runs_without_a_lease_takes_no_heartbeat(client: FlaskClient) -> None:
    held = Held(client, make_job(client, "running"), "token")
    assert refusal(held.post("heartbeat")) == (409, "Lease lost", None)
    assert refusal(held.post("release")) == (409, "Lease lost", None)


@pytest.mark.parametrize("what", ["heartbeat", "release", "retry"])
def test_a_job_that_does_not_exist_is_not_found(client: FlaskClient, what: str) -> None:
    nobody = Held(client, {"id": NO_JOB}, "token")
    assert refusal(nobody.post(what)) == (404, "Job not found", None)
    assert refusal(Held(client, {"id": "x"}, "token").post(what)) == (
        400,
        "Invalid id: must be a UUID",
        None,
    )


@pytest.mark.parametrize("what", ["heartbeat", "release"])
def test_who_brings_no_token_is_told_which_one_it_takes(client: FlaskClient, what: str) -> None:
    held = hold(client)
    assert refusal(client.post(f"{held.path}/{what}")) == (409, "Lease lost", NO_TOKEN)


# -------------------------------------------------------------------------------------------------------- cancellation


def test_nobody_but_the_worker_is_taken_for_having_heard(client: FlaskClient) -> None:
    held = hold(client)
    held.cancel()
    client.get(held.path)
    client.post(f"{held.path}/heartbeat")
    client.post(f"{held.path}/heartbeat", headers={"X-Lease-Token": "wrong"})
    client.put(held.path, json={"stats": {"a": 1}})
    assert held.heard() == 0


def test_a_cancelled_job_tells_its_worker_by_the_job_itself(client: FlaskClient) -> None:
    held = hold(client)
    client.delete(f"{held.path}?reason=enough")
    answers = [held.post("heartbeat") for _ in range(3)]
    for answer in answers:
        told = data(answer)
        assert (told["status"], told["error_message"]) == ("cancelled", "Cancelled via API: enough")
        assert (told["lease_expires_at"], told["worker_id"]) == (None, "w1")
        assert answer.headers["ETag"] == client.get(held.path).headers["ETag"]
    assert held.heard() == 1
    event = read_history(client, held.job["id"])[-1]
    assert (event["action"], event["old_status"], event["new_status"]) == (
        "cancel_heard",
        "cancelled",
        "cancelled",
    )
    assert event["changes"] == {}


def test_heartbeats_after_the_last_report_are_answered_and_change_nothing(
    client: FlaskClient,
) -> None:
    held = hold(client)
    held.cancel()
    last = held.put({"stats": {"pages": 7}, "metadata": {"log": "x"}})
    assert (data(last)["stats"], data(last)["metadata"]) == ({"pages": 7}, {"log": "x"})
    after = read_all(client, held.job["id"])
    assert refusal(held.put({"metadata": {"log": "y"}})) == (409, "Lease lost", None)
    assert data(held.post("heartbeat")) == data(last)
    assert read_all(client, held.job["id"]) == after
    assert held.heard() == 1


@pytest.mark.parametrize("status", ["completed", "failed", "running", "pending"])
def test_a_refused_report_tells_of_the_cancellation_and_leaves_the_last_one_to_be_made(
    client: FlaskClient, status: str
) -> None:
    held = hold(client)
    held.cancel()
    error = f"Cannot transition from 'cancelled' to '{status}'"
    for _ in range(2):
        assert refusal(held.put({"status": status, "stats": {"lost": 1}})) == (400, error, None)
    assert held.heard() == 1
    assert data(held.put({"stats": {"pages": 7}}))["stats"] == {"pages": 7}
    assert held.heard() == 1


REFUSED: dict[str, Callable[[Held], TestResponse]] = {
    "put": lambda held: held.put({"status": "completed"}),
    "patch": lambda held: held.patch({"status": "completed"}),
    "retry": lambda held: held.post("retry"),
    "release": lambda held: held.post("release"),
    "retry with a key": lambda held: held.post(
        "retry", headers={"Idempotency-Key": uuid.uuid4().hex}
    ),
    "release with a key": lambda held: held.post(
        "release", headers={"Idempotency-Key": uuid.uuid4().hex}
    ),
    "delete": lambda held: held.client.delete(held.path, headers={"X-Lease-Token": held.token}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_every_refusal_that_names_the_cancellation_is_a_hearing(
    client: FlaskClient, what: str
) -> None:
    held = hold(client)
    held.cancel()
    answer = REFUSED[what](held)
    assert answer.status_code in (400, 409)
    assert "cancelled" in answer.text
    assert held.heard() == 1


def test_a_refusal_that_does_not_tell_of_the_cancellation_is_no_hearing(
    client: FlaskClient,
) -> None:
    held = hold(client)
    held.cancel()
    stale = held.put({"stats": {"a": 1}}, headers={"If-Match": '"1"'})
    assert refusal(stale) == (412, "Job was modified", None)
    large = held.put({"stats": {"a": "x" * 300_000}})
    assert refusal(large) == (413, "Invalid stats: must hold at most 256 KiB", None)
    assert held.heard() == 0


def test_a_patch_may_be_the_last_report(client: FlaskClient) -> None:
    held = hold(client)
    data(held.put({"stats": {"pages": 1, "errors": 2}}))
    held.cancel()
    assert data(held.patch({"stats": {"errors": None}}))["stats"] == {"pages": 1}
    assert held.heard() == 1
    assert refusal(held.patch({"stats": {"pages": 3}})) == (409, "Lease lost", None)


# --------------------------------------------------------------------------------------------------------------- retry


def used_up(client: FlaskClient, status: str = "failed") -> dict[str, Any]:
    job = make_job(client, status)
    found: dict[str, Any] = data(client.put(f"{JOBS}/{job['id']}", json={"retry_count": 3}))
    return found


def test_a_retry_keeps_the_message_that_it_is_given(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    after = data(
        client.post(f"{JOBS}/{job['id']}/retry", json={"error_message": "again token=abc"})
    )
    assert (after["status"], after["error_message"]) == ("pending", "again token=***")


def test_retries_that_are_used_up_are_refused_unless_they_are_given_anew(
    client: FlaskClient,
) -> None:
    job = used_up(client)
    before = read_all(client, job["id"])
    refused = (
        400,
        "Cannot transition from 'failed' to 'pending'",
        "Maximum retries reached (3 of 3)",
    )
    for body in (None, {}, {"reset_retry_count": False}, {"delay_seconds": 5}):
        assert refusal(client.post(f"{JOBS}/{job['id']}/retry", json=body)) == refused
    assert read_all(client, job["id"]) == before
    body = {"reset_retry_count": True, "delay_seconds": 3600}
    after = data(client.post(f"{JOBS}/{job['id']}/retry", json=body))
    assert (after["status"], after["retry_count"]) == ("pending", 0)
    assert moment(after["scheduled_for"]) - moment(after["updated_at"]) == HOUR


def test_a_job_that_may_never_be_retried_is_not_given_anew_either(client: FlaskClient) -> None:
    job = make_job(client, "failed", max_retries=0)
    answer = client.post(f"{JOBS}/{job['id']}/retry", json={"reset_retry_count": True})
    assert refusal(answer)[0] == 400
    assert refusal(answer)[2] == "Maximum retries reached (0 of 0)"


@pytest.mark.parametrize("seconds", [0, 365 * 24 * 3600])
def test_a_retry_may_wait_from_no_time_to_a_year(client: FlaskClient, seconds: int) -> None:
    job = make_job(client, "failed")
    after = data(client.post(f"{JOBS}/{job['id']}/retry", json={"delay_seconds": seconds}))
    assert moment(after["scheduled_for"]) - moment(after["updated_at"]) == timedelta(
        seconds=seconds
    )
    assert len(take(client, job["domain"])) == (seconds == 0)


def test_a_retry_is_made_of_the_version_that_it_names(client: FlaskClient) -> None:
    job = make_job(client, "failed")
    path = f"{JOBS}/{job['id']}"
    tag = client.get(path).headers["ETag"]
    stale = client.post(f"{path}/retry", headers={"If-Match": '"1"'})
    assert refusal(stale) == (412, "Job was modified", None)
    assert data(client.post(f"{path}/retry", headers={"If-Match": tag}))["status"] == "pending"


@pytest.mark.parametrize("body", [[], "now", 5])
@pytest.mark.parametrize("what", ["retry", "release", "heartbeat"])
def test_a_body_is_an_object_where_there_is_one(client: FlaskClient, what: str, body: Any) -> None:
    held = hold(client)
    headers = {"X-Lease-Token": held.token, "Content-Type": "application/json"}
    answer = client.post(f"{held.path}/{what}", data=json.dumps(body), headers=headers)
    assert refusal(answer) == (400, "Invalid body: must be a JSON object", None)
    plain = client.post(
        f"{held.path}/{what}", data="x", headers={**headers, "Content-Type": "text/plain"}
    )
    assert plain.status_code == 415
    assert held.now()["status"] == "running"


def test_giving_up_is_two_steps_that_keep_what_the_attempt_left(client: FlaskClient) -> None:
    held = hold(client)
    data(held.put({"stats": {"pages": 7}}))
    answer = held.post(
        "retry",
        {"error_message": "Blocked", "delay_seconds": 3600},
        headers={"X-Request-ID": "up-7"},
    )
    assert answer.get_json()["message"] == "Job queued for retry"
    after = data(answer)
    assert moment(after["scheduled_for"]) - moment(after["updated_at"]) == HOUR
    assert (after["retry_count"], after["error_message"], after["stats"]) == (1, None, {})
    assert (after["worker_id"], after["lease_expires_at"], after["started_at"]) == (
        None,
        None,
        None,
    )
    failed, retried = read_history(client, held.job["id"])[-2:]
    assert (failed["action"], failed["old_status"], failed["new_status"]) == (
        "given_up",
        "running",
        "failed",
    )
    assert (retried["action"], retried["old_status"], retried["new_status"]) == (
        "retried",
        "failed",
        "pending",
    )
    assert failed["changes"]["error_message"] == {"from": None, "to": "Blocked"}
    assert retried["changes"]["error_message"] == {"from": "Blocked", "to": None}
    assert retried["changes"]["stats.pages"] == {"from": 7, "to": None}
    assert retried["changes"]["retry_count"] == {"from": 0, "to": 1}
    assert {event["request_id"] for event in (failed, retried)} == {"up-7"}


@pytest.mark.parametrize("body", [None, {}, {"error_message": None}])
def test_who_gives_up_without_a_reason_is_named(
    client: FlaskClient, body: dict[str, Any] | None
) -> None:
    held = hold(client)
    data(held.post("retry", body))
    failed = read_history(client, held.job["id"])[-2]
    assert failed["changes"]["error_message"]["to"] == "Given up by worker w1"


def test_the_last_attempt_is_given_up_once_however_often_it_is_said(client: FlaskClient) -> None:
    held, key = hold(client, max_retries=3), uuid.uuid4().hex
    data(held.put({"retry_count": 3}))
    refused = (
        400,
        "Cannot transition from 'failed' to 'pending'",
        "Maximum retries reached (3 of 3)",
    )
    first, again = (
        held.post("retry", {"error_message": "no"}, headers={"Idempotency-Key": key})
        for _ in range(2)
    )
    assert refusal(first) == refusal(again) == refused
    assert again.headers["Idempotent-Replayed"] == "true"
    assert refusal(held.post("retry", {"error_message": "no"})) == refused
    after = held.now()
    assert (after["status"], after["error_message"], after["retry_count"]) == ("failed", "no", 3)
    assert after["completed_at"] is not None
    assert [event["action"] for event in read_history(client, held.job["id"])][-2:] == [
        "updated",
        "given_up",
    ]


def test_a_worker_may_give_up_and_be_given_all_retries_anew(client: FlaskClient) -> None:
    held = hold(client)
    data(held.put({"retry_count": 3}))
    after = data(held.post("retry", {"reset_retry_count": True}))
    assert (after["status"], after["retry_count"]) == ("pending", 0)


def test_without_its_token_a_running_job_is_not_given_up(client: FlaskClient) -> None:
    held = hold(client)
    before = read_all(client, held.job["id"])
    answer = client.post(f"{held.path}/retry", json={"error_message": "no"})
    assert refusal(answer) == (400, "Cannot transition from 'running' to 'pending'", None)
    assert read_all(client, held.job["id"]) == before


# ------------------------------------------------------------------------------------------------------------- release


def test_a_released_job_is_the_next_worker_s_at_once(client: FlaskClient) -> None:
    held = hold(client)
    data(held.put({"retry_count": 3}))
    answer = held.post("release")
    assert answer.get_json()["message"] == "Job released successfully"
    after = data(answer)
    assert (after["status"], after["retry_count"], after["scheduled_for"]) == ("pending", 3, None)
    assert (after["worker_id"], after["lease_expires_at"], after["error_message"]) == (
        None,
        None,
        None,
    )
    (taken,) = take(client, held.job["domain"], worker_id="w2")
    assert taken["lease_token"] != held.token
    for late in (held.post("heartbeat"), held.post("release"), held.put({"status": "completed"})):
        assert refusal(late) == (409, "Lease lost", None)
    assert held.now()["worker_id"] == "w2"


def test_a_job_that_its_worker_has_ended_is_not_released(client: FlaskClient) -> None:
    held = hold(client)
    data(held.put({"status": "failed"}))
    before = read_all(client, held.job["id"])
    assert held.post("release").status_code in (400, 409)
    assert read_all(client, held.job["id"]) == before


# ----------------------------------------------------------------------------------------------- a queue of one's own


@dataclass
class Ground:
    """A database in which there is nothing but one test's jobs."""

    app: Flask
    client: FlaskClient
    connection: Any

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def owed(self) -> list[tuple[str, str]]:
        """Return the status changes that webhooks are to tell of, oldest first, and forget them."""
        owed = self.rows(
            "SELECT e.old_status, e.new_status FROM outbox o JOIN job_events e USING (job_id, seq) ORDER BY seq"
        )
        self.rows("TRUNCATE outbox")
        return owed

    def place(self, job: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = data(self.client.get(f"{JOBS}/{job['id']}/queue"))
        return found


@pytest.fixture(scope="module")
def only_database(server_url: str) -> Iterator[str]:
    for url in new_database(server_url):
        migrate(url)
        yield url


@pytest.fixture
def ground(only_database: str) -> Iterator[Ground]:
    connection = psycopg2.connect(only_database)
    connection.autocommit = True
    with application(only_database) as app:
        ground = Ground(app, app.test_client(), connection)
        ground.rows("TRUNCATE scrape_jobs, job_events, outbox, uncounted_events")
        yield ground
    connection.close()


def test_each_status_change_of_the_queue_is_owed_to_the_webhooks_and_nothing_else_is(
    ground: Ground,
) -> None:
    held = hold(ground.client)
    assert ground.owed() == [("pending", "running")]
    data(held.post("heartbeat"))
    data(held.put({"stats": {"a": 1}}))
    assert ground.owed() == []
    data(held.post("retry"))
    assert ground.owed() == [("running", "failed"), ("failed", "pending")]
    (job,) = take(ground.client, held.job["domain"])
    held = Held(ground.client, job, job["lease_token"])
    data(held.post("release"))
    assert ground.owed() == [("pending", "running"), ("running", "failed"), ("failed", "pending")]
    (job,) = take(ground.client, held.job["domain"])
    held = Held(ground.client, job, job["lease_token"])
    held.cancel()
    assert ground.owed() == [("pending", "running"), ("running", "cancelled")]
    held.post("heartbeat")
    held.put({"stats": {"a": 1}})
    assert held.heard() == 1
    assert ground.owed() == []


@pytest.mark.parametrize(
    ("max_retries", "expected"),
    [(3, [("running", "failed"), ("failed", "pending")]), (0, [("running", "failed")])],
)
def test_a_rescue_is_owed_to_the_webhooks_step_by_step(
    ground: Ground, max_retries: int, expected: list[tuple[str, str]]
) -> None:
    hold(ground.client, max_retries=max_retries)
    ground.rows("TRUNCATE outbox")
    ground.rows("UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 ms'")
    with own_work(ground.app):
        assert sweeper.sweep() == 1
    assert ground.owed() == expected


def test_a_refused_last_retry_is_owed_as_the_failure_that_it_is(ground: Ground) -> None:
    held = hold(ground.client, max_retries=0)
    ground.rows("TRUNCATE outbox")
    assert held.post("retry").status_code == 400
    assert ground.owed() == [("running", "failed")]


def test_every_status_change_of_the_queue_is_counted_once(ground: Ground) -> None:
    held = hold(ground.client)
    data(held.post("retry"))
    changes = "SELECT job_id, seq FROM job_events WHERE old_status IS DISTINCT FROM new_status ORDER BY seq"
    assert ground.rows("SELECT job_id, seq FROM uncounted_events ORDER BY seq") == ground.rows(
        changes
    )


def test_the_places_are_the_order_in_which_jobs_are_taken(ground: Ground) -> None:
    jobs = [make_job(ground.client, priority=1 + n % 10) for n in range(12)]
    make_job(ground.client, priority=10, scheduled_for="2099-01-01T00:00:00Z")
    make_job(ground.client, "running", priority=10)
    ground.rows(
        "UPDATE scrape_jobs SET created_at = created_at - interval '37 hours' WHERE id = %s",
        jobs[10]["id"],
    )
    ground.rows(
        "UPDATE scrape_jobs SET created_at = now() - interval '1 hour' WHERE id = ANY(%s::uuid[])",
        ids(jobs[3:6]),
    )
    coming = data(ground.client.get(f"{JOBS}/next?limit=100"))
    assert coming[0]["id"] == jobs[10]["id"]
    assert [ground.place(job)["position"] for job in coming] == list(range(1, 13))


def test_a_place_is_told_in_numbers_and_in_a_sentence(ground: Ground) -> None:
    first, second, third = (make_job(ground.client) for _ in range(3))
    assert ground.place(first) == {
        "id": first["id"],
        "status": "pending",
        "priority": 5,
        "due_at": first["created_at"],
        "position": 1,
        "position_is_exact": True,
        "held_back_by": None,
        "reason": "The job is the next: it starts when a worker asks for work of its domain and type",
    }
    assert ground.place(second)["reason"] == "1 due job comes before it"
    assert ground.place(third)["reason"] == "2 due jobs come before it"


def test_the_queue_may_be_longer_than_it_is_worth_counting(ground: Ground) -> None:
    ground.rows(
        """INSERT INTO scrape_jobs (id, domain_id, domain, job_type, priority, max_retries, created_at, updated_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 'many.example', 'page', 9, 3, now(), now()
        FROM generate_series(1, 10001)"""
    )
    found = ground.place(make_job(ground.client))
    assert (found["position"], found["position_is_exact"]) == (10_001, False)
    assert found["reason"] == "at least 10000 due jobs come before it"


@pytest.mark.parametrize("status", ["running", "completed", "failed", "cancelled"])
def test_a_job_that_is_not_pending_has_no_place(client: FlaskClient, status: str) -> None:
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


@pytest.mark.parametrize(
    ("domain_limit", "own", "allowed", "named"),
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
def test_a_job_is_held_back_by_the_lesser_limit(
    database_url: str,
    domain_limit: int | None,
    own: int | None,
    allowed: int | None,
    named: str | None,
) -> None:
    with application(database_url, domain_limit=domain_limit) as app:
        client, domain = app.test_client(), new_domain()
        for _ in range(2):
            make_job(client, "running", domain=domain)
        job = make_job(client, domain=domain, config={} if own is None else {"maxConcurrent": own})
        found = data(client.get(f"{JOBS}/{job['id']}/queue"))
        if named is None:
            assert found["held_back_by"] is None
            assert ids(take(client, domain)) == [job["id"]]
            return
        assert found["held_back_by"] == {
            "limit": named,
            "domain": domain,
            "allowed": allowed,
            "running": 2,
        }
        assert found["reason"] == f"2 jobs of {domain} are running, and {named} allows {allowed}"
        assert take(client, domain) == []
        assert data(client.get(f"{JOBS}/next?domains={domain}")) == []


def test_a_limit_may_be_left_open(client: FlaskClient) -> None:
    job = make_job(client, config={"maxConcurrent": None})
    assert ids(take(client, job["domain"])) == [job["id"]]


def test_a_wrong_limit_is_told_beside_other_faults(client: FlaskClient) -> None:
    job = {"domain": "a b", "config": {"maxConcurrent": 0}}
    details = "Invalid config.maxConcurrent: must be a positive integer"
    error = "Invalid domain: must be a host name such as example.com, without scheme, port or path"
    assert refusal(client.post(JOBS, json=job)) == (400, error, details)
