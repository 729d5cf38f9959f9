"""A row that another transaction has locked delays only the requests for that row."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg2
import pytest
import requests
from requests import Response

from app.database.row_limiter import PATIENCE_SECONDS, RowLimiter
from app.errors import LockTimeout
from support.database import migrate, new_database
from support.factories import new_domain
from support.service import Service

CALLS = 20
QUICK_SECONDS = 0.5
PATCH = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture(scope="module")
def database(server_url: str) -> Iterator[str]:
    for url in new_database(server_url):
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def service(database: str) -> Iterator[Service]:
    """A service of one process with four threads."""
    with Service(
        database, WEB_CONCURRENCY="1", THREADS="4", SCRAPE_JOBS_WEBHOOK_DISPATCH="off"
    ) as service:
        yield service


@contextmanager
def locked(url: str, table: str, row: str) -> Iterator[None]:
    """Lock the row during the block, like an open transaction in psql."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT FROM {table} WHERE id = %s FOR UPDATE", (row,))
        yield
    connection.close()


def lease_job(service: Service) -> tuple[str, dict[str, str]]:
    """Return the id of a leased job, and the header with its lease token."""
    domain = new_domain()
    job_id = service.create(domain=domain)["id"]
    asked = {"worker_id": "w", "domains": [domain], "lease_seconds": 600}
    (job,) = requests.post(f"{service.jobs}/next", json=asked, timeout=30).json()["data"]
    return job_id, {"X-Lease-Token": job["lease_token"]}


def calls_of(service: Service) -> dict[str, tuple[str, Callable[[], Response]]]:
    """Return calls that change one row, by name, each with the id of the row."""
    job_id, token = lease_job(service)
    job, key = f"{service.jobs}/{job_id}", {"Idempotency-Key": uuid.uuid4().hex}
    hook_id = service.webhook("http://93.184.215.14/")["id"]
    hook = f"{service.url}/api/webhooks/{hook_id}"
    return {
        "PUT": (job_id, lambda: requests.put(job, json={"stats": {"a": 1}}, timeout=30)),
        "PATCH": (
            job_id,
            lambda: requests.patch(job, json={"stats": {"a": 1}}, headers=PATCH, timeout=30),
        ),
        "DELETE": (job_id, lambda: requests.delete(job, timeout=30)),
        "heartbeat": (job_id, lambda: requests.post(f"{job}/heartbeat", headers=token, timeout=30)),
        "release": (job_id, lambda: requests.post(f"{job}/release", headers=token, timeout=30)),
        "retry": (job_id, lambda: requests.post(f"{job}/retry", headers=token, timeout=30)),
        "retry with a key": (
            job_id,
            lambda: requests.post(f"{job}/retry", headers={**token, **key}, timeout=30),
        ),
        "PUT of a webhook": (
            hook_id,
            lambda: requests.put(hook, json={"description": "d"}, timeout=30),
        ),
        "DELETE of a webhook": (hook_id, lambda: requests.delete(hook, timeout=30)),
        "new secret of a webhook": (
            hook_id,
            lambda: requests.post(f"{hook}/rotate-secret", timeout=30),
        ),
    }


NAMES = [
    "PUT", "PATCH", "DELETE", "heartbeat", "release", "retry", "retry with a key",
    "PUT of a webhook", "DELETE of a webhook", "new secret of a webhook",
]  # fmt: skip


@pytest.mark.timed
@pytest.mark.parametrize("name", NAMES)
def test_requests_for_other_rows_continue(service: Service, database: str, name: str) -> None:
    row, call = calls_of(service)[name]
    other = f"{service.jobs}/{service.create()['id']}"
    table = "webhook_endpoints" if "webhook" in name else "scrape_jobs"
    slowest = 0.0
    with locked(database, table, row), ThreadPoolExecutor(CALLS) as pool:
        waiting = [pool.submit(call) for _ in range(CALLS)]
        time.sleep(PATIENCE_SECONDS + 0.2)
        while not all(one.done() for one in waiting):
            for method in ("GET", "PUT"):
                started = time.monotonic()
                answer = requests.request(method, other, json={"stats": {"a": 1}}, timeout=30)
                slowest = max(slowest, time.monotonic() - started)
                assert answer.status_code == 200
        answers = [one.result() for one in waiting]
    assert slowest < QUICK_SECONDS
    statuses = {answer.status_code for answer in answers}
    assert statuses == ({500, 409} if "key" in name else {500})
    for answer in answers:
        if answer.status_code == 500:
            assert answer.json()["details"] == "Lock timeout"
        assert answer.headers["Retry-After"] == "1"
    assert call().status_code in (200, 204)


def test_free_row_serves_many_requests(service: Service) -> None:
    url = f"{service.jobs}/{service.create()['id']}"
    with ThreadPoolExecutor(CALLS) as pool:
        answers = list(
            pool.map(lambda n: requests.put(url, json={"stats": {"n": n}}, timeout=30), range(200))
        )
    assert {answer.status_code for answer in answers} == {200}


# ------------------------------------------------------------------------------------------ RowLimiter


@pytest.mark.timed
def test_places_per_row_are_limited() -> None:
    limiter, release = RowLimiter(2), threading.Event()
    entered: list[str] = []

    def work(row: str) -> None:
        with limiter.at(row):
            entered.append(row)
            assert release.wait(60)

    with ThreadPoolExecutor(4) as pool:
        held = [pool.submit(work, row) for row in ("a", "a", "b")]
        while len(entered) < 3:
            time.sleep(0.01)
        started = time.monotonic()
        with pytest.raises(LockTimeout), limiter.at("a"):
            pass
        assert time.monotonic() - started <= PATIENCE_SECONDS + 5
        with limiter.at("b"):
            pass
        release.set()
        for one in held:
            one.result()
    with limiter.at("a"):
        pass


def test_free_place_is_taken() -> None:
    limiter, done = RowLimiter(1), []
    with ThreadPoolExecutor(8) as pool:

        def work(number: int) -> None:
            with limiter.at("row"):
                time.sleep(0.005)
                done.append(number)

        list(pool.map(work, range(40)))
    assert sorted(done) == list(range(40))


def test_failure_frees_the_place() -> None:
    limiter = RowLimiter(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limiter.at("row"):
            _ = 1 / 0
