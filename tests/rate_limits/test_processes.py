"""Processes that share rate limits through Redis, and limit alone while it is down."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import pytest
import requests
from flask.testing import FlaskClient

from support.factories import make_job
from support.rate_limits import (
    Stopwatch,
    at_once,
    connected_processes,
    fallbacks_of,
    limited_service_settings,
    warnings_of,
)
from support.redis import Redis
from support.service import Service, wait_until


@pytest.mark.timed
def test_processes_share_one_limit(
    database_url: str, empty_redis: Redis, client: FlaskClient
) -> None:
    limit = 300
    job = make_job(client)["id"]
    with Service(database_url, **limited_service_settings(empty_redis, limit, 8)) as service:

        def is_used_by_all() -> bool:
            at_once(service.jobs, 16, 2)
            return connected_processes(empty_redis, service) == 8

        wait_until(is_used_by_all, 60)
        started = time.monotonic()
        answers = at_once(f"{service.jobs}/{job}", 24, 20)
        assert time.monotonic() - started < 50  # within one window
        assert set(answers) == {200, 429}
        assert answers.total() == 480
        assert abs(answers[200] - limit) <= limit / 100


LIMIT, WORKERS = 20, 2


@pytest.fixture(scope="module")
def dependent(database_url: str, redis: Redis) -> Iterator[Service]:
    """A service of two processes that share the limits through the Redis."""
    with Service(database_url, **limited_service_settings(redis, LIMIT, WORKERS)) as service:
        yield service


def wait_until_shared(service: Service) -> None:
    """Wait until all processes share the limit: twice, because one may have got all requests."""

    def is_shared() -> bool:
        return all(at_once(service.jobs, 12, 5) == {200: LIMIT, 429: 60 - LIMIT} for _ in range(2))

    wait_until(is_shared, 40)


@contextmanager
def killed(redis: Redis) -> Iterator[None]:
    """Kill the Redis, and start it again at the end."""
    redis.kill()
    try:
        yield
    finally:
        redis.start()


@pytest.mark.timed
@pytest.mark.parametrize("how", ["frozen", "dead"])
def test_processes_limit_alone_while_redis_is_down(
    dependent: Service, redis: Redis, how: str
) -> None:
    wait_until_shared(dependent)
    found_before, warned_before = fallbacks_of(dependent), len(warnings_of(dependent))
    job = dependent.create()["id"]
    at, first, later = f"{dependent.jobs}/{job}", Stopwatch(), Stopwatch()
    with redis.frozen() if how == "frozen" else killed(redis):
        # Many requests of all kinds notice it first, at the same time.
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
        assert max(first.seconds) < 4

        # Later only a request that tries Redis again, now and then, may wait for it.
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
