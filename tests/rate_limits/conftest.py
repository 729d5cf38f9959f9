"""Applications with rate limits that are easy to reach, and a Redis for them."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.config import Settings
from support.application import close
from support.rate_limits import SETTINGS, UNREACHABLE_LIMIT, LimitedApp, OpenApp
from support.redis import Redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis for the module."""
    with Redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@pytest.fixture
def empty_redis(redis: Redis) -> Redis:
    """A Redis without any counter."""
    redis.clear()
    return redis


@pytest.fixture
def open_app(database_url: str) -> Iterator[OpenApp]:
    """A function that makes an application; the applications are closed after the test.

    It takes the application's settings, or the URL of a Redis (None: without) and limits.
    """
    opened: list[LimitedApp] = []

    def open_one(settings: Settings | str | None, auth: str = "off", **limits: int) -> LimitedApp:
        if not isinstance(settings, Settings):
            chosen: dict[str, Any] = {
                SETTINGS[kind]: limits.get(kind.replace(" ", "_"), UNREACHABLE_LIMIT)
                for kind in SETTINGS
            }
            settings = Settings(
                database_url=database_url, redis_url=settings, auth=auth, threads=16, **chosen
            )
        opened.append(LimitedApp(settings))
        return opened[-1]

    yield open_one
    for limited in opened:
        close(limited.app)


@pytest.fixture(params=["memory", "redis"])
def redis_url(request: pytest.FixtureRequest) -> str | None:
    """None and the URL of a Redis, in turn."""
    if request.param == "redis":
        redis: Redis = request.getfixturevalue("empty_redis")
        return redis.url
    return None
