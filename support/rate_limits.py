"""Callers of applications and services with rate limits, and the counters in Redis."""

import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import psutil
import requests
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from app.api_keys import service as api_keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from support.redis import Redis
from support.service import Service

JOBS = "/api/scrape-jobs"

UNREACHABLE_LIMIT = 100_000

SETTINGS = {
    "reads": "rate_limit_reads",
    "updates": "rate_limit_updates",
    "creations": "rate_limit_creations",
    "updates of one job": "rate_limit_job",
}
"""The setting of each class of requests."""


class LimitedApp:
    """An application in this process with rate limits, and its callers."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)

    def key(self, *scopes: Scope, customer: uuid.UUID | None = None) -> dict[str, str]:
        """Make an API key, by default one for everything, and return the header that carries it."""
        with self.app.app_context():
            key, _ = api_keys.create("a test's key", scopes or (Scope.ALL,), customer, None)
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

    def count_allowed(
        self, kind: str, job: str, calls: int, headers: Mapping[str, str] | None = None
    ) -> int:
        """Make `calls` calls and return how many were allowed; the others must be 429."""
        statuses = Counter(self.call(kind, job, headers).status_code for _ in range(calls))
        refused = statuses.pop(429, 0)
        assert all(status < 300 for status in statuses), statuses
        return calls - refused


OpenApp = Callable[..., LimitedApp]
"""The type of the fixture `open_app`."""


class Stopwatch:
    """Makes calls, and keeps the duration and the status of each."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()

    def call(self, send: Callable[[], int]) -> None:
        """Make a call that returns its status."""
        started = time.monotonic()
        status = send()
        self.seconds.append(time.monotonic() - started)
        self.statuses[status] += 1


def limit_and_remaining(answer: TestResponse) -> tuple[int, int]:
    """Return the values of these two headers; the reset must lie within a minute."""
    assert 0 <= int(answer.headers["RateLimit-Reset"]) <= 61
    return int(answer.headers["RateLimit-Limit"]), int(answer.headers["RateLimit-Remaining"])


# Counters in Redis.


def keys(redis: Redis) -> list[str]:
    """Return all keys in Redis."""
    return [key.decode() for key in redis.client.scan_iter()]


def window_key(redis: Redis, kind: str) -> str:
    """Return the key of the current window of the only counter of `kind`."""
    (key,) = [key for key in keys(redis) if kind in key and not key.endswith("/-1")]
    return key


def age_window(redis: Redis, kind: str, seconds_left: float) -> None:
    """Make the current window end in `seconds_left`; its key lives for two windows."""
    redis.client.pexpire(window_key(redis, kind), round((60 + seconds_left) * 1000))


# Services that trust one proxy.


def new_client() -> dict[str, str]:
    """Return headers by which a service that trusts one proxy takes a call for a new client's."""
    parts = [str(random.randrange(256)) for _ in range(3)]
    return {"X-Forwarded-For": f"10.{'.'.join(parts)}"}


def at_once(url: str, connections: int, calls: int) -> Counter[int]:
    """Make `calls` calls over each of several connections at once, as one new client.

    Returns the number of answers by status.
    """
    headers = new_client()

    def many(_: int) -> Counter[int]:
        with requests.Session() as session:
            session.headers.update(headers)
            return Counter(session.get(url, timeout=30).status_code for _ in range(calls))

    with ThreadPoolExecutor(connections) as pool:
        return sum(pool.map(many, range(connections)), Counter())


def connected_processes(redis: Redis, service: Service) -> int:
    """Return how many processes of the service have a connection to the Redis."""
    return sum(
        any(
            each.raddr and each.raddr.port == redis.port
            for each in psutil.Process(pid).net_connections("tcp")
        )
        for pid in service.pids()
    )


def limited_service_settings(redis: Redis, reads: int, workers: int) -> dict[str, str]:
    """Return the settings of a service behind one proxy that limits reads."""
    return {
        "REDIS_URL": redis.url,
        "WEB_CONCURRENCY": str(workers),
        "SCRAPE_JOBS_HOUSEKEEPING": "off",
        "SCRAPE_JOBS_WEBHOOK_DISPATCH": "off",
        "SCRAPE_JOBS_TRUSTED_PROXIES": "1",
        "SCRAPE_JOBS_RATE_LIMIT": "on",
        "SCRAPE_JOBS_RATE_LIMIT_READS": str(reads),
        "SCRAPE_JOBS_RATE_LIMIT_UPDATES": str(UNREACHABLE_LIMIT),
        "SCRAPE_JOBS_RATE_LIMIT_CREATIONS": str(UNREACHABLE_LIMIT),
        "SCRAPE_JOBS_RATE_LIMIT_JOB": str(UNREACHABLE_LIMIT),
    }


def fallbacks(text: str) -> float:
    """Return how often processes found Redis down, from the text of /metrics."""
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    return sum(
        sample.value
        for sample in samples
        if sample.name == "scrape_jobs_rate_limit_fallbacks_total"
    )


def fallbacks_of(service: Service) -> float:
    """Return how often the service's processes found Redis down."""
    answer = requests.get(f"{service.url}/metrics", headers=new_client(), timeout=30)
    assert answer.status_code == 200
    return fallbacks(answer.text)


def warnings_of(service: Service) -> list[str]:
    """Return the service's warnings, without those about refused requests."""
    lines = [json.loads(line) for line in service.logs().splitlines() if line.startswith("{")]
    return [
        line["message"]
        for line in lines
        if line["level"] == "warning" and line["message"] != "refused"
    ]
