"""Rate limits: who is counted with whom, what callers are told, and what happens with and without
Redis."""

import json
import logging
import math
import random
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from statistics import median
from threading import Thread
from typing import Any

import psutil
import pytest
import requests
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from app.api_keys import service as tenancy
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from support.factories import make_job, new_domain
from support.redis import Redis
from support.service import Service, free_port, wait_until

JOBS = "/api/scrape-jobs"
MANY = 100_000
SETTINGS = {
    "reads": "rate_limit_reads",
    "updates": "rate_limit_updates",
    "creations": "rate_limit_creations",
    "updates of one job": "rate_limit_job",
}


class Front:
    """An application in this process, with limits that are easy to reach, and its callers."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)

    def key(self, *scopes: Scope, customer: uuid.UUID | None = None) -> dict[str, str]:
        with self.app.app_context():
            key, _ = tenancy.create("a test's key", scopes or (Scope.ALL,), customer, None)
        return {"Authorization": f"Bearer {key}"}

    def call(
        self,
        kind: str,
        job: str,
        headers: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
    ) -> TestResponse:
        """Make a call that counts as `kind`."""
        method, path, body = {
            "reads": ("GET", f"{JOBS}/{job}", None),
            "updates": ("PUT", f"{JOBS}/{job}", {"metadata": {"a": 1}}),
            "creations": ("POST", JOBS, {"domain": "example.com"}),
            "updates of one job": ("PUT", f"{JOBS}/{job}", {"metadata": {"a": 1}}),
        }[kind]
        client = self.app.test_client()
        return client.open(
            path, method=method, json=body, headers=headers, environ_base={"REMOTE_ADDR": address}
        )


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis for this module."""
    with Redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@pytest.fixture
def empty_redis(redis: Redis) -> Redis:
    """A Redis that has counted nothing."""
    redis.forget()
    return redis


Open = Callable[..., Front]


@pytest.fixture
def fronts(database_url: str) -> Iterator[Open]:
    """Makes applications, of settings or of a Redis's URL (None: without) and limits, and closes
    them."""
    made: list[Front] = []

    def open_one(how: Settings | str | None, auth: str = "off", **limits: int) -> Front:
        if not isinstance(how, Settings):
            chosen: dict[str, Any] = {
                SETTINGS[name]: limits.get(name.replace(" ", "_"), MANY) for name in SETTINGS
            }
            how = Settings(
                database_url=database_url, redis_url=how, auth=auth, threads=16, **chosen
            )
        made.append(Front(how))
        return made[-1]

    yield open_one
    for front in made:
        with front.app.app_context():
            front.app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture(params=["memory", "redis"])
def storage(request: pytest.FixtureRequest) -> str | None:
    """The URL of a Redis, and none, in turn."""
    if request.param == "redis":
        redis: Redis = request.getfixturevalue("empty_redis")
        return redis.url
    return None


def told(answer: TestResponse) -> tuple[int, int]:
    """Return the limit and what is left of it, as the answer tells them, with a reset that makes
    sense."""
    assert 0 <= int(answer.headers["RateLimit-Reset"]) <= 61
    return int(answer.headers["RateLimit-Limit"]), int(answer.headers["RateLimit-Remaining"])


def through(
    front: Front, kind: str, job: str, calls: int, headers: Mapping[str, str] | None = None
) -> int:
    """Return how many of `calls` calls are let through; what is refused is refused for its
    number."""
    statuses = Counter(front.call(kind, job, headers).status_code for _ in range(calls))
    refused = statuses.pop(429, 0)
    assert all(status < 300 for status in statuses), statuses
    return calls - refused


# -------------------------------------------------------------------------------------------------- whose calls count


@pytest.mark.parametrize("kind", SETTINGS)
def test_what_is_past_a_limit_is_refused_and_told_so(
    fronts: Open, storage: str | None, client: FlaskClient, kind: str
) -> None:
    job = make_job(client)["id"]
    front = fronts(storage, **{kind.replace(" ", "_"): 3})
    for left in (2, 1, 0):
        answer = front.call(kind, job)
        assert answer.status_code in (200, 201)
        assert "Retry-After" not in answer.headers
        if kind != "updates of one job":
            assert told(answer) == (3, left)
    for _ in range(2):
        answer = front.call(kind, job)
        assert answer.status_code == 429
        assert answer.get_json() == {
            "success": False,
            "error": "Too many requests",
            "details": f"At most 3 {kind} a minute",
        }
        assert told(answer) == (3, 0)
        assert 1 <= int(answer.headers["Retry-After"]) <= 61
        assert answer.headers["Cache-Control"] == "no-store"
    others = {"reads", "updates", "creations"} - {
        kind,
        "updates" if kind == "updates of one job" else kind,
    }
    for other in others:
        assert front.call(other, job).status_code in (200, 201)


@pytest.mark.parametrize("left_of_updates", [1, 5], ids=["the caller's", "the job's"])
def test_an_update_is_told_of_the_limit_that_it_meets_first(
    fronts: Open, empty_redis: Redis, client: FlaskClient, left_of_updates: int
) -> None:
    job = make_job(client)["id"]
    front = fronts(empty_redis.url, updates=left_of_updates, updates_of_one_job=3)
    answer = front.call("updates", job)
    assert told(answer) == ((1, 0) if left_of_updates == 1 else (3, 2))


@pytest.mark.parametrize("kind", ["reads", "updates", "creations"])
def test_a_key_s_calls_count_for_that_key_alone(
    fronts: Open, storage: str | None, client: FlaskClient, kind: str
) -> None:
    job = make_job(client)["id"]
    front = fronts(storage, auth="keys", **{kind: 3})
    one, other = front.key(), front.key()
    assert through(front, kind, job, 5, one) == 3
    assert through(front, kind, job, 5, other) == 3
    # It is the key that counts, and not where it is used.
    assert front.call(kind, job, one, address="192.0.2.7").status_code == 429


@pytest.mark.parametrize("kind", ["reads", "updates", "creations"])
def test_without_keys_an_address_is_a_caller(
    fronts: Open, storage: str | None, client: FlaskClient, kind: str
) -> None:
    job = make_job(client)["id"]
    front = fronts(storage, **{kind: 2})
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        statuses = [front.call(kind, job, address=address).status_code for _ in range(4)]
        assert statuses[2:] == [429, 429]
        assert 429 not in statuses[:2]


def test_a_job_s_updates_count_for_that_job_alone_however_its_id_is_written_and_they_are_made(
    fronts: Open, storage: str | None, client: FlaskClient
) -> None:
    front = fronts(storage, auth="keys", updates_of_one_job=5)
    one, other = make_job(client)["id"], make_job(client)["id"]
    key = front.key()
    merge = {**key, "Content-Type": "application/merge-patch+json"}
    at = front.app.test_client()
    assert at.put(f"{JOBS}/{one}", json={"metadata": {"a": 1}}, headers=key).status_code == 200
    assert (
        at.put(f"{JOBS}/{one.upper()}", json={"metadata": {"a": 2}}, headers=key).status_code == 200
    )
    assert at.patch(f"{JOBS}/{one}", json={"metadata": {"a": 3}}, headers=merge).status_code == 200
    assert at.post(f"{JOBS}/{one}/retry", json={}, headers=key).status_code == 400
    assert (
        at.put(f"{JOBS}/{one}", json={"metadata": {"a": 4}}, headers=front.key()).status_code == 200
    )
    for refused in (
        at.put(f"{JOBS}/{one}", json={"metadata": {"a": 5}}, headers=key),
        at.patch(f"{JOBS}/{one.upper()}", json={"metadata": {"a": 5}}, headers=merge),
        at.delete(f"{JOBS}/{one}", headers=key),
        at.post(f"{JOBS}/{one}/heartbeat", headers={**key, "X-Lease-Token": str(uuid.uuid4())}),
    ):
        assert refused.status_code == 429
        assert refused.get_json()["details"] == "At most 5 updates of one job a minute"
    assert front.call("reads", one, key).status_code == 200
    assert through(front, "updates", other, 7, key) == 5


def test_who_may_not_see_a_job_does_not_use_up_its_updates(
    fronts: Open, empty_redis: Redis
) -> None:
    front = fronts(empty_redis.url, auth="keys", updates_of_one_job=3)
    owner, stranger = uuid.uuid4(), uuid.uuid4()
    own = front.key(Scope.JOBS_READ, Scope.JOBS_WRITE, customer=owner)
    foreign = front.key(Scope.JOBS_READ, Scope.JOBS_WRITE, customer=stranger)
    body = {"domain": new_domain(), "customer_config_id": str(owner)}
    created = front.app.test_client().post(JOBS, json=body, headers=own)
    assert created.status_code == 201, created.text
    job = created.get_json()["data"]["id"]
    for _ in range(4):
        assert front.call("updates", job, foreign).status_code in (404, 429)
    assert front.call("updates", job, own).status_code == 200


def test_a_worker_uses_up_the_updates_of_no_job_but_for_itself(
    fronts: Open, empty_redis: Redis, client: FlaskClient
) -> None:
    job = make_job(client)["id"]
    front = fronts(empty_redis.url, auth="keys", updates_of_one_job=3)
    worker, other, writer = (
        front.key(Scope.QUEUE_WORK),
        front.key(Scope.QUEUE_WORK),
        front.key(Scope.JOBS_WRITE),
    )
    token = {"X-Lease-Token": str(uuid.uuid4())}
    assert [front.call("updates", job, {**worker, **token}).status_code for _ in range(5)] == [
        409
    ] * 3 + [429] * 2
    assert front.call("updates", job, {**other, **token}).status_code == 409
    assert through(front, "updates", job, 5, writer) == 3


def test_who_is_not_let_in_uses_up_nothing(
    fronts: Open, empty_redis: Redis, client: FlaskClient
) -> None:
    job = make_job(client)["id"]
    front = fronts(empty_redis.url, auth="keys", reads=2, updates_of_one_job=2)
    reader = front.key(Scope.JOBS_READ)
    for headers, status in (({}, 401), ({"Authorization": "Bearer nonsense"}, 401), (reader, 403)):
        for _ in range(4):
            answer = front.call("updates", job, headers)
            assert answer.status_code == status
            assert "RateLimit-Limit" not in answer.headers
    assert through(front, "reads", job, 4, reader) == 2
    assert through(front, "updates", job, 4, front.key()) == 2


def test_health_is_never_limited_and_tells_of_no_limit(fronts: Open, storage: str | None) -> None:
    front = fronts(storage, reads=1)
    at = front.app.test_client()
    for path in ("/healthz", "/readyz") * 5:
        answer = at.get(path)
        assert answer.status_code == 200
        assert "RateLimit-Limit" not in answer.headers
    assert at.get(JOBS).status_code == 200
    assert at.get(JOBS).status_code == 429
    assert at.get("/healthz").status_code == 200


def test_a_refused_change_is_not_made(
    fronts: Open, empty_redis: Redis, client: FlaskClient
) -> None:
    front = fronts(empty_redis.url, creations=1, updates=1)
    domain = new_domain()
    at = front.app.test_client()
    made = [at.post(JOBS, json={"domain": domain}) for _ in range(3)]
    assert [answer.status_code for answer in made] == [201, 429, 429]
    job = made[0].get_json()["data"]["id"]
    changed = [
        at.put(f"{JOBS}/{job}", json={"status": status}) for status in ("running", "completed")
    ]
    assert [answer.status_code for answer in changed] == [200, 429]
    (left,) = client.get(f"{JOBS}?domain={domain}").get_json()["data"]
    assert left["status"] == "running"


# -------------------------------------------------------------------------------------------------- when to come back


def window_key(redis: Redis, scope: str) -> str:
    (key,) = [key for key in keys(redis) if scope in key and not key.endswith("/-1")]
    return key


def keys(redis: Redis) -> list[str]:
    return [key.decode() for key in redis.client.scan_iter()]


def let_pass(redis: Redis, scope: str, seconds_left: float) -> None:
    """Make the window so old that only `seconds_left` of it are left; a key lives for two
    windows."""
    redis.client.pexpire(window_key(redis, scope), round((60 + seconds_left) * 1000))


def test_retry_after_is_never_too_short_and_at_most_a_second_too_long(
    fronts: Open, empty_redis: Redis, client: FlaskClient
) -> None:
    job = make_job(client)["id"]
    front = fronts(empty_redis.url, reads=2)
    assert through(front, "reads", job, 3) == 2
    key = window_key(empty_redis, "reads")
    for phase in (0.1, 0.3, 0.55, 0.75):  # of the second of the clock in which it is asked
        time.sleep((phase - time.time()) % 1)
        for step in range(10):
            let_pass(empty_redis, "reads", 7 + step / 10)
            answer = front.call("reads", job)
            left = empty_redis.client.pttl(key) / 1000 - 60
            assert answer.status_code == 429
            assert left <= int(answer.headers["Retry-After"]) <= math.ceil(left + 1)


def test_whoever_waits_as_long_as_told_is_let_in(
    fronts: Open, empty_redis: Redis, client: FlaskClient
) -> None:
    job = make_job(client)["id"]
    front = fronts(empty_redis.url, reads=4)
    assert through(front, "reads", job, 5) == 4
    time.sleep((0.55 - time.time()) % 1)
    let_pass(empty_redis, "reads", 1.3)
    refused = front.call("reads", job)
    assert refused.status_code == 429
    time.sleep(int(refused.headers["Retry-After"]))
    assert front.call("reads", job).status_code == 200

    # Now the last window counts, too, for as much of it as lies within the last minute: a quarter
    # of it a quarter.
    refused = front.call("reads", job)
    assert refused.status_code == 429
    (last,) = [key for key in keys(empty_redis) if "reads" in key and key.endswith("/-1")]
    assert 1 <= int(refused.headers["Retry-After"]) <= 16
    empty_redis.client.pexpire(last, 45_000 + 900)
    refused = front.call("reads", job)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    time.sleep(int(refused.headers["Retry-After"]))
    assert front.call("reads", job).status_code == 200


# ---------------------------------------------------------------------------------------------- settings and the log


def test_the_settings_set_the_limits_and_a_refusal_is_logged_with_who_and_from_where(
    database_url: str,
    empty_redis: Redis,
    client: FlaskClient,
    fronts: Open,
    caplog: pytest.LogCaptureFixture,
) -> None:
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": empty_redis.url,
        "SCRAPE_JOBS_RATE_LIMIT_READS": "3",
        "SCRAPE_JOBS_RATE_LIMIT_UPDATES": "5",
        "SCRAPE_JOBS_RATE_LIMIT_CREATIONS": "4",
        "SCRAPE_JOBS_RATE_LIMIT_JOB": "2",
    }
    front = fronts(Settings.from_environ(environ))
    key = front.key()
    job, other = make_job(client)["id"], make_job(client)["id"]
    caplog.set_level(logging.INFO)

    def statuses(kind: str, job: str, calls: int) -> list[int]:
        return [front.call(kind, job, key, address="192.0.2.9").status_code for _ in range(calls)]

    assert statuses("reads", job, 4) == [200, 200, 200, 429]
    assert statuses("updates", job, 3) == [200, 200, 429]
    assert statuses("creations", job, 5) == [201, 201, 201, 201, 429]
    assert statuses("updates", other, 3) == [200, 200, 429]
    assert statuses("updates", make_job(client)["id"], 1) == [
        429
    ]  # it is the caller's sixth, counting the refused

    refused = [
        record
        for record in caplog.records
        if record.name == "app.requests" and record.msg == "refused"
    ]
    assert len(refused) == 5
    for record in refused:
        facts = vars(record)
        assert (record.levelname, facts["status"], facts["address"]) == (
            "WARNING",
            429,
            "192.0.2.9",
        )
        assert facts["actor"]
        assert facts["actor"] in key["Authorization"]
        assert key["Authorization"].removeprefix("Bearer ") not in str(facts)


def test_off_means_no_limit(database_url: str, fronts: Open) -> None:
    environ = {
        "DATABASE_URL": database_url,
        "SCRAPE_JOBS_RATE_LIMIT_READS": "1",
        "SCRAPE_JOBS_AUTH": "off",
    }
    for setting, statuses in (("off", {200}), ("on", {200, 429})):
        at = fronts(
            Settings.from_environ({**environ, "SCRAPE_JOBS_RATE_LIMIT": setting})
        ).app.test_client()
        answers = [at.get(JOBS) for _ in range(5)]
        assert {answer.status_code for answer in answers} == statuses
        assert any("RateLimit-Limit" in answer.headers for answer in answers) == (setting == "on")


# ------------------------------------------------------------------------------------------------- several processes


def somebody() -> dict[str, str]:
    """Return what makes a service that believes one proxy take a call for one of a caller that is
    new to it."""
    return {
        "X-Forwarded-For": f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}"
    }


def at_once(url: str, connections: int, calls: int) -> Counter[int]:
    """Call as one new caller over many connections at once, and return how often there was which
    status."""
    caller = somebody()

    def many(_: int) -> Counter[int]:
        with requests.Session() as session:
            session.headers.update(caller)
            return Counter(session.get(url, timeout=30).status_code for _ in range(calls))

    with ThreadPoolExecutor(connections) as pool:
        return sum(pool.map(many, range(connections)), Counter())


def users_of(redis: Redis, service: Service) -> int:
    """Return how many of the service's processes have a connection to the Redis."""
    return sum(
        any(
            each.raddr and each.raddr.port == redis.port
            for each in psutil.Process(pid).net_connections("tcp")
        )
        for pid in service.pids()
    )


def limited(redis: Redis, reads: int, workers: int) -> dict[str, str]:
    """Return the settings of a service that limits, all of whose callers come through a proxy."""
    return {
        "REDIS_URL": redis.url,
        "WEB_CONCURRENCY": str(workers),
        "SCRAPE_JOBS_HOUSEKEEPING": "off",
        "SCRAPE_JOBS_WEBHOOK_DISPATCH": "off",
        "SCRAPE_JOBS_TRUSTED_PROXIES": "1",
        "SCRAPE_JOBS_RATE_LIMIT": "on",
        "SCRAPE_JOBS_RATE_LIMIT_READS": str(reads),
        "SCRAPE_JOBS_RATE_LIMIT_UPDATES": str(MANY),
        "SCRAPE_JOBS_RATE_LIMIT_CREATIONS": str(MANY),
        "SCRAPE_JOBS_RATE_LIMIT_JOB": str(MANY),
    }


def test_eight_processes_together_let_through_what_one_limit_allows(
    database_url: str, empty_redis: Redis, client: FlaskClient
) -> None:
    limit = 300
    job = make_job(client)["id"]
    with Service(database_url, **limited(empty_redis, limit, 8)) as service:
        wait_until(lambda: at_once(service.jobs, 16, 2) and users_of(empty_redis, service) == 8, 60)
        started = time.monotonic()
        answers = at_once(f"{service.jobs}/{job}", 24, 20)
        assert time.monotonic() - started < 50  # it was one window
        assert set(answers) == {200, 429}
        assert answers.total() == 480
        assert abs(answers[200] - limit) <= limit / 100


# ---------------------------------------------------------------------------------------------------- Redis goes away


class Clock:
    """Makes calls, and keeps how long each took and what came of it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()

    def call(self, send: Callable[[], int]) -> None:
        started = time.monotonic()
        status = send()
        self.seconds.append(time.monotonic() - started)
        self.statuses[status] += 1


LIMIT, WORKERS = 20, 2


@pytest.fixture(scope="module")
def dependent(database_url: str, redis: Redis) -> Iterator[Service]:
    """A service of two processes that share the limits through the Redis."""
    with Service(database_url, **limited(redis, LIMIT, WORKERS)) as service:
        yield service


def wait_until_shared(service: Service) -> None:
    """Wait until the processes let through together what one may: from twice the same, for one may
    have had all."""

    def are_they() -> bool:
        return all(at_once(service.jobs, 12, 5) == {200: LIMIT, 429: 60 - LIMIT} for _ in range(2))

    wait_until(are_they, 40)


def fallbacks(text: str) -> float:
    """Return how often Redis was found away, as /metrics tells."""
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    return sum(
        sample.value
        for sample in samples
        if sample.name == "scrape_jobs_rate_limit_fallbacks_total"
    )


def fallbacks_of(service: Service) -> float:
    answer = requests.get(f"{service.url}/metrics", headers=somebody(), timeout=10)
    assert answer.status_code == 200
    return fallbacks(answer.text)


def warnings_of(service: Service) -> list[str]:
    lines = [json.loads(line) for line in service.logs().splitlines() if line.startswith("{")]
    return [
        line["message"]
        for line in lines
        if line["level"] == "warning" and line["message"] != "refused"
    ]


@contextmanager
def dead(redis: Redis) -> Iterator[None]:
    redis.kill()
    try:
        yield
    finally:
        redis.start()


@pytest.mark.parametrize("how", ["frozen", "dead"])
def test_while_redis_is_away_each_process_limits_by_itself_and_nothing_hangs_or_fails(
    dependent: Service, redis: Redis, how: str
) -> None:
    wait_until_shared(dependent)
    found_before, warned_before = fallbacks_of(dependent), len(warnings_of(dependent))
    job = dependent.create()["id"]
    at, first, later = f"{dependent.jobs}/{job}", Clock(), Clock()
    with redis.frozen() if how == "frozen" else dead(redis):
        # The first to notice are many at once, with every kind of call.
        calls: list[Callable[[requests.Session], requests.Response]] = [
            lambda session: session.post(
                dependent.jobs, json={"domain": "example.com"}, timeout=30
            ),
            lambda session: session.put(at, json={"metadata": {"a": 1}}, timeout=30),
            lambda session: session.get(at, timeout=30),
        ]
        dependent.at_once(
            *(
                lambda session, make=make: first.call(lambda: make(session).status_code)
                for make in calls * 4
            )
        )
        assert first.statuses == {201: 4, 200: 8}
        assert max(first.seconds) < 2

        # Later only a look now and then whether it is back may wait for it.
        started = time.monotonic()
        with requests.Session() as session:
            while time.monotonic() - started < 2:
                later.call(
                    lambda: session.put(at, json={"metadata": {"a": 2}}, timeout=30).status_code
                )
        assert set(later.statuses) == {200}
        assert max(later.seconds) < 1.5
        assert median(later.seconds) < 0.1

        answers = at_once(at, 16, 5)
        assert set(answers) == {200, 429}
        assert LIMIT <= answers[200] <= WORKERS * LIMIT
        wait_until(lambda: len(warnings_of(dependent)) > warned_before)
        assert len(warnings_of(dependent)) <= warned_before + 2 * WORKERS
    wait_until_shared(dependent)
    assert 1 <= fallbacks_of(dependent) - found_before <= 2 * WORKERS


@contextmanager
def silence(port: int) -> Iterator[None]:
    """Accept connections on the port and say nothing."""
    with socket.create_server(("127.0.0.1", port)):
        yield


@pytest.mark.parametrize("how", ["refusing", "silent"])
def test_a_redis_that_was_never_there_is_done_without_until_it_comes(
    fronts: Open, tmp_path: Path, client: FlaskClient, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    job = make_job(client)["id"]
    clock = Clock()
    with ExitStack() as stack:
        redis = Redis(tmp_path)
        stack.callback(redis.client.close)
        with silence(redis.port) if how == "silent" else nullcontext():
            front = fronts(redis.url, reads=3)
            for _ in range(5):
                clock.call(lambda: front.call("reads", job).status_code)
            for _ in range(20):
                clock.call(lambda: front.call("updates", job).status_code)
                clock.call(lambda: front.call("creations", job).status_code)
        assert clock.statuses == {200: 3 + 20, 429: 2, 201: 20}
        assert max(clock.seconds) < 2
        assert median(clock.seconds) < 0.1
        warnings = [
            record
            for record in caplog.records
            if record.levelname == "WARNING" and record.msg != "refused"
        ]
        assert 1 <= len(warnings) <= 3
        stack.enter_context(redis)

        def is_used() -> bool:
            assert front.call("creations", job).status_code == 201
            return bool(keys(redis))

        wait_until(is_used, 40)


def test_a_claim_during_whose_wait_redis_goes_away_is_answered(
    fronts: Open, empty_redis: Redis, client: FlaskClient
) -> None:
    at, domain = fronts(empty_redis.url).app.test_client(), new_domain()
    body = {"worker_id": "w", "domains": [domain], "wait_seconds": 15}
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(lambda: at.post(f"{JOBS}/next", json=body))
        wait_until(lambda: keys(empty_redis))
        with empty_redis.frozen():
            job = make_job(client, domain=domain)
            answer = claim.result(30)
    assert answer.status_code == 200, answer.text
    assert [taken["id"] for taken in answer.get_json()["data"]] == [job["id"]]


def test_a_redis_that_answers_but_takes_nothing_is_away_too(
    fronts: Open, empty_redis: Redis, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    job, clock = make_job(client)["id"], Clock()
    front = fronts(empty_redis.url)

    def go_on_calling(_: int) -> None:
        started = time.monotonic()
        while time.monotonic() - started < 2:
            clock.call(lambda: front.call("reads", job).status_code)

    empty_redis.client.config_set("maxmemory", 1)  # from now on it is out of memory
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(go_on_calling, range(8)))
    finally:
        empty_redis.client.config_set("maxmemory", 0)
    assert set(clock.statuses) == {200}
    assert max(clock.seconds) < 2
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(warnings) <= 10
    assert len(clock.seconds) > 100


@pytest.mark.parametrize(
    "answer", [b"+OK\r\n", b"-MOVED x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"]
)
def test_what_is_no_redis_is_one_that_is_away(
    fronts: Open, client: FlaskClient, caplog: pytest.LogCaptureFixture, answer: bytes
) -> None:
    job = make_job(client)["id"]

    class Speaker(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while self.request.recv(4096):
                    self.request.sendall(answer)

    with ThreadingTCPServer(("127.0.0.1", 0), Speaker) as server:
        server.block_on_close = False  # the client keeps its connections
        Thread(target=server.serve_forever, daemon=True).start()
        front = fronts(f"redis://127.0.0.1:{server.server_address[1]}/0", reads=3)
        statuses = [front.call("reads", job).status_code for _ in range(5)]
        server.shutdown()
    assert statuses == [200] * 3 + [429] * 2
    assert [record for record in caplog.records if record.getMessage().startswith("Redis is away")]


def test_a_count_in_redis_that_the_library_cannot_read_fails_nothing(
    fronts: Open, empty_redis: Redis, client: FlaskClient
) -> None:
    job, front = make_job(client)["id"], fronts(empty_redis.url)
    assert front.call("reads", job).status_code == 200
    empty_redis.client.set(window_key(empty_redis, "reads"), "9e99", keepttl=True)
    assert (
        front.call("reads", job).status_code == 429
    )  # it is a number for Redis, and past every limit
    assert front.call("reads", job).status_code == 200  # by then Redis counts as away


def test_the_first_call_is_told_when_its_window_ends(
    fronts: Open, storage: str | None, client: FlaskClient
) -> None:
    job, front = make_job(client)["id"], fronts(storage, auth="keys")
    firsts = [front.call("reads", job, front.key()) for _ in range(20)]
    assert {int(answer.headers["RateLimit-Reset"]) for answer in firsts} == {60}


def test_that_redis_is_away_is_measured_even_where_warnings_are_not_logged(
    fronts: Open, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    at = fronts(f"redis://127.0.0.1:{free_port()}/0").app.test_client()
    before = fallbacks(fronts(None).app.test_client().get("/metrics").text)
    assert at.get(JOBS).status_code == 200
    assert fallbacks(at.get("/metrics").text) == before + 1
