"""Which requests count together, and what happens past a limit."""

import uuid

import pytest
from flask.testing import FlaskClient

from app.api_keys.scopes import Scope
from support.factories import make_job, new_domain
from support.rate_limits import (
    JOBS,
    SETTINGS,
    OpenApp,
    limit_and_remaining,
)
from support.redis import Redis


@pytest.mark.parametrize("kind", SETTINGS)
def test_request_past_limit_is_refused(
    open_app: OpenApp, redis_url: str | None, client: FlaskClient, kind: str
) -> None:
    job = make_job(client)["id"]
    limited = open_app(redis_url, **{kind.replace(" ", "_"): 3})
    for left in (2, 1, 0):
        answer = limited.call(kind, job)
        assert answer.status_code in (200, 201)
        assert "Retry-After" not in answer.headers
        if kind != "updates of one job":
            assert limit_and_remaining(answer) == (3, left)
    for _ in range(2):
        answer = limited.call(kind, job)
        assert answer.status_code == 429
        assert answer.get_json() == {
            "success": False,
            "error": "Too many requests",
            "details": f"At most 3 {kind} a minute",
        }
        assert limit_and_remaining(answer) == (3, 0)
        assert 1 <= int(answer.headers["Retry-After"]) <= 61
        assert answer.headers["Cache-Control"] == "no-store"
    others = {"reads", "updates", "creations"} - {
        kind,
        "updates" if kind == "updates of one job" else kind,
    }
    for other in others:
        assert limited.call(other, job).status_code in (200, 201)


@pytest.mark.parametrize("left_of_updates", [1, 5], ids=["the caller's", "the job's"])
def test_answer_shows_the_limit_reached_first(
    open_app: OpenApp, empty_redis: Redis, client: FlaskClient, left_of_updates: int
) -> None:
    job = make_job(client)["id"]
    limited = open_app(empty_redis.url, updates=left_of_updates, updates_of_one_job=3)
    answer = limited.call("updates", job)
    assert limit_and_remaining(answer) == ((1, 0) if left_of_updates == 1 else (3, 2))


@pytest.mark.parametrize("kind", ["reads", "updates", "creations"])
def test_each_key_has_its_own_limit(
    open_app: OpenApp, redis_url: str | None, client: FlaskClient, kind: str
) -> None:
    job = make_job(client)["id"]
    limited = open_app(redis_url, auth="keys", **{kind: 3})
    one, other = limited.key(), limited.key()
    assert limited.count_allowed(kind, job, 5, one) == 3
    assert limited.count_allowed(kind, job, 5, other) == 3
    # The key counts, whatever address it is used from.
    assert limited.call(kind, job, one, address="192.0.2.7").status_code == 429


@pytest.mark.parametrize("kind", ["reads", "updates", "creations"])
def test_without_keys_each_address_is_limited(
    open_app: OpenApp, redis_url: str | None, client: FlaskClient, kind: str
) -> None:
    job = make_job(client)["id"]
    limited = open_app(redis_url, **{kind: 2})
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        statuses = [limited.call(kind, job, address=address).status_code for _ in range(4)]
        assert statuses[2:] == [429, 429]
        assert 429 not in statuses[:2]


def test_updates_of_a_job_count_together(
    open_app: OpenApp, redis_url: str | None, client: FlaskClient
) -> None:
    limited = open_app(redis_url, auth="keys", updates_of_one_job=5)
    one, other = make_job(client)["id"], make_job(client)["id"]
    key = limited.key()
    merge = {**key, "Content-Type": "application/merge-patch+json"}
    at = limited.app.test_client()
    assert at.put(f"{JOBS}/{one}", json={"metadata": {"a": 1}}, headers=key).status_code == 200
    assert (
        at.put(f"{JOBS}/{one.upper()}", json={"metadata": {"a": 2}}, headers=key).status_code == 200
    )
    assert at.patch(f"{JOBS}/{one}", json={"metadata": {"a": 3}}, headers=merge).status_code == 200
    assert at.post(f"{JOBS}/{one}/retry", json={}, headers=key).status_code == 400
    assert (
        at.put(f"{JOBS}/{one}", json={"metadata": {"a": 4}}, headers=limited.key()).status_code
        == 200
    )
    for refused in (
        at.put(f"{JOBS}/{one}", json={"metadata": {"a": 5}}, headers=key),
        at.patch(f"{JOBS}/{one.upper()}", json={"metadata": {"a": 5}}, headers=merge),
        at.delete(f"{JOBS}/{one}", headers=key),
        at.post(f"{JOBS}/{one}/heartbeat", headers={**key, "X-Lease-Token": str(uuid.uuid4())}),
    ):
        assert refused.status_code == 429
        assert refused.get_json()["details"] == "At most 5 updates of one job a minute"
    assert limited.call("reads", one, key).status_code == 200
    assert limited.count_allowed("updates", other, 7, key) == 5


def test_other_customers_do_not_use_up_updates(open_app: OpenApp, empty_redis: Redis) -> None:
    limited = open_app(empty_redis.url, auth="keys", updates_of_one_job=3)
    owner, stranger = uuid.uuid4(), uuid.uuid4()
    own = limited.key(Scope.JOBS_READ, Scope.JOBS_WRITE, customer=owner)
    foreign = limited.key(Scope.JOBS_READ, Scope.JOBS_WRITE, customer=stranger)
    body = {"domain": new_domain(), "customer_config_id": str(owner)}
    created = limited.app.test_client().post(JOBS, json=body, headers=own)
    assert created.status_code == 201, created.text
    job = created.get_json()["data"]["id"]
    for _ in range(4):
        assert limited.call("updates", job, foreign).status_code in (404, 429)
    assert limited.call("updates", job, own).status_code == 200


def test_worker_uses_up_only_its_own_updates(
    open_app: OpenApp, empty_redis: Redis, client: FlaskClient
) -> None:
    job = make_job(client)["id"]
    limited = open_app(empty_redis.url, auth="keys", updates_of_one_job=3)
    worker, other, writer = (
        limited.key(Scope.QUEUE_WORK),
        limited.key(Scope.QUEUE_WORK),
        limited.key(Scope.JOBS_WRITE),
    )
    token = {"X-Lease-Token": str(uuid.uuid4())}
    assert [limited.call("updates", job, {**worker, **token}).status_code for _ in range(5)] == [
        409
    ] * 3 + [429] * 2
    assert limited.call("updates", job, {**other, **token}).status_code == 409
    assert limited.count_allowed("updates", job, 5, writer) == 3


def test_rejected_requests_do_not_count(
    open_app: OpenApp, empty_redis: Redis, client: FlaskClient
) -> None:
    job = make_job(client)["id"]
    limited = open_app(empty_redis.url, auth="keys", reads=2, updates_of_one_job=2)
    reader = limited.key(Scope.JOBS_READ)
    for headers, status in (({}, 401), ({"Authorization": "Bearer nonsense"}, 401), (reader, 403)):
        for _ in range(4):
            answer = limited.call("updates", job, headers)
            assert answer.status_code == status
            assert "RateLimit-Limit" not in answer.headers
    assert limited.count_allowed("reads", job, 4, reader) == 2
    assert limited.count_allowed("updates", job, 4, limited.key()) == 2


def test_health_is_never_limited(open_app: OpenApp, redis_url: str | None) -> None:
    limited = open_app(redis_url, reads=1)
    at = limited.app.test_client()
    for path in ("/healthz", "/readyz") * 5:
        answer = at.get(path)
        assert answer.status_code == 200
        assert "RateLimit-Limit" not in answer.headers
    assert at.get(JOBS).status_code == 200
    assert at.get(JOBS).status_code == 429
    assert at.get("/healthz").status_code == 200


def test_refused_request_changes_nothing(
    open_app: OpenApp, empty_redis: Redis, client: FlaskClient
) -> None:
    limited = open_app(empty_redis.url, creations=1, updates=1)
    domain = new_domain()
    at = limited.app.test_client()
    made = [at.post(JOBS, json={"domain": domain}) for _ in range(3)]
    assert [answer.status_code for answer in made] == [201, 429, 429]
    job = made[0].get_json()["data"]["id"]
    changed = [
        at.put(f"{JOBS}/{job}", json={"status": status}) for status in ("running", "completed")
    ]
    assert [answer.status_code for answer in changed] == [200, 429]
    (left,) = client.get(f"{JOBS}?domain={domain}").get_json()["data"]
    assert left["status"] == "running"
