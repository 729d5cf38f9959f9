"""The headers that say when the next request is allowed."""

import math
import time

from flask.testing import FlaskClient

from support.factories import make_job
from support.rate_limits import (
    OpenApp,
    age_window,
    keys,
    window_key,
)
from support.redis import Redis


def test_retry_after_is_exact_to_a_second(
    open_app: OpenApp, empty_redis: Redis, client: FlaskClient
) -> None:
    job = make_job(client)["id"]
    limited = open_app(empty_redis.url, reads=2)
    assert limited.count_allowed("reads", job, 3) == 2
    key = window_key(empty_redis, "reads")
    for phase in (0.1, 0.3, 0.55, 0.75):  # parts of the clock's second at which it asks
        time.sleep((phase - time.time()) % 1)
        for step in range(10):
            age_window(empty_redis, "reads", 7 + step / 10)
            answer = limited.call("reads", job)
            left = empty_redis.client.pttl(key) / 1000 - 60
            assert answer.status_code == 429
            assert left <= int(answer.headers["Retry-After"]) <= math.ceil(left + 1)


def test_waiting_for_retry_after_is_enough(
    open_app: OpenApp, empty_redis: Redis, client: FlaskClient
) -> None:
    job = make_job(client)["id"]
    limited = open_app(empty_redis.url, reads=4)
    assert limited.count_allowed("reads", job, 5) == 4
    time.sleep((0.55 - time.time()) % 1)
    age_window(empty_redis, "reads", 1.3)
    refused = limited.call("reads", job)
    assert refused.status_code == 429
    time.sleep(int(refused.headers["Retry-After"]))
    assert limited.call("reads", job).status_code == 200

    # Now the previous window counts, too, by the part of it that lies within the last minute.
    refused = limited.call("reads", job)
    assert refused.status_code == 429
    (previous,) = [key for key in keys(empty_redis) if "reads" in key and key.endswith("/-1")]
    assert 1 <= int(refused.headers["Retry-After"]) <= 16
    empty_redis.client.pexpire(previous, 45_000 + 900)
    refused = limited.call("reads", job)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    time.sleep(int(refused.headers["Retry-After"]))
    assert limited.call("reads", job).status_code == 200


def test_first_answer_shows_the_full_window(
    open_app: OpenApp, redis_url: str | None, client: FlaskClient
) -> None:
    job, limited = make_job(client)["id"], open_app(redis_url, auth="keys")
    firsts = [limited.call("reads", job, limited.key()) for _ in range(20)]
    assert {int(answer.headers["RateLimit-Reset"]) for answer in firsts} == {60}
