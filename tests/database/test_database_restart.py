"""The responses of the service while PostgreSQL is down or frozen, and its recovery."""

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg2
import pytest
import requests
from requests import Response, Session

from support.database import migrate
from support.factories import new_domain
from support.postgres import Postgres
from support.service import Service

SECONDS = 9
DETAILS = ("Database unavailable", "Database connection timeout")


class StoppableDatabase:
    """A PostgreSQL that tests may stop, and the service on it."""

    def __init__(self, postgres: Postgres, url: str, service: Service) -> None:
        self.postgres = postgres
        self.url = url
        self.service = service

    def calls(self, job_id: str) -> dict[str, Callable[[Session], Response]]:
        """Return a call of each kind, by the error text of its failure."""
        jobs, job = self.service.jobs, f"{self.service.jobs}/{job_id}"
        return {
            "Failed to fetch scrape job": lambda s: s.get(job, timeout=30),
            "Failed to update scrape job": lambda s: s.put(
                job, json={"stats": {"a": 1}}, timeout=30
            ),
            "Failed to cancel scrape job": lambda s: s.delete(job, timeout=30),
            "Failed to create scrape job": lambda s: s.post(
                jobs, json={"domain": new_domain()}, timeout=30
            ),
            "Failed to list scrape jobs": lambda s: s.get(jobs, timeout=30),
            "Failed to fetch scrape job history": lambda s: s.get(f"{job}/history", timeout=30),
        }


@pytest.fixture(scope="module")
def stoppable() -> Iterator[StoppableDatabase]:
    """One for all tests of the module; each test leaves it running."""
    postgres = Postgres(Path(tempfile.mkdtemp(prefix="sj-")))
    url = postgres.start()
    try:
        migrate(url)
        with Service(url, WEB_CONCURRENCY="2", THREADS="8") as service:
            yield StoppableDatabase(postgres, url, service)
    finally:
        postgres.delete()


def warm(service: Service, job_id: str) -> None:
    """Make each process open its connections."""
    service.at_once(*[lambda s: s.get(f"{service.jobs}/{job_id}", timeout=30)] * 16)


def timed(call: Callable[[Session], Response], session: Session) -> tuple[Response, float]:
    started = time.monotonic()
    return call(session), time.monotonic() - started


@pytest.mark.timed
def test_outage_is_reported_and_recovered_from(
    stoppable: StoppableDatabase,
) -> None:
    service = stoppable.service
    job = service.create()
    warm(service, job["id"])
    pids = service.pids()

    stoppable.postgres.stop()
    calls = [*stoppable.calls(job["id"]).items()] * 4
    answers = service.at_once(*(partial(timed, call) for _, call in calls))
    for (error, _), (answer, seconds) in zip(calls, answers, strict=True):
        assert answer.status_code == 500
        body = answer.json()
        assert set(body) == {"success", "error", "details"}
        assert (body["success"], body["error"]) == (False, error)
        assert body["details"] in DETAILS
        assert seconds < SECONDS
    assert requests.get(f"{service.url}/healthz", timeout=SECONDS).status_code == 200
    ready = requests.get(f"{service.url}/readyz", timeout=SECONDS)
    assert (ready.status_code, ready.json()["error"]) == (503, "Not ready")

    assert stoppable.postgres.start() == stoppable.url
    deadline = time.monotonic() + 20
    while not requests.get(f"{service.jobs}/{job['id']}", timeout=SECONDS).ok:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    reads = [call for error, call in stoppable.calls(job["id"]).items() if "cancel" not in error]
    for _ in range(5):
        for answer in service.at_once(*reads * 4):
            assert answer.ok, answer.text
    assert requests.get(f"{service.url}/readyz", timeout=SECONDS).status_code == 200
    assert requests.delete(f"{service.jobs}/{job['id']}", timeout=SECONDS).status_code == 200
    assert service.pids() == pids


def test_ended_idle_connections_are_replaced(
    stoppable: StoppableDatabase,
) -> None:
    service = stoppable.service
    job = service.create()
    connection = psycopg2.connect(stoppable.url)
    connection.autocommit = True
    for call in [
        call for error, call in stoppable.calls(job["id"]).items() if "cancel" not in error
    ]:
        warm(service, job["id"])
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 5000))"
                " FROM pg_stat_activity WHERE application_name = 'scrape-jobs'"
            )
            assert cursor.fetchall()[0][0] > 0
        for answer in service.at_once(*[call] * 8):
            assert answer.ok, answer.text
    connection.close()


@pytest.mark.timed
def test_frozen_server_delays_requests_briefly(stoppable: StoppableDatabase) -> None:
    service = stoppable.service
    job = service.create()
    url = f"{service.jobs}/{job['id']}"
    warm(service, job["id"])
    patch = {"Content-Type": "application/merge-patch+json"}
    calls: list[Callable[[Session], Response]] = [
        *stoppable.calls(job["id"]).values(),
        lambda s: s.patch(url, json={"stats": {"a": 1}}, headers=patch, timeout=30),
        lambda s: s.post(
            service.jobs,
            json={"domain": new_domain()},
            headers={"Idempotency-Key": str(uuid.uuid4())},
            timeout=30,
        ),
    ]
    with stoppable.postgres.frozen():
        for answer, seconds in service.at_once(*(partial(timed, call) for call in calls)):
            assert answer.status_code == 500
            assert answer.json()["details"] in DETAILS
            assert seconds < SECONDS
        # New connections replace the broken ones. This does not take longer.
        answer, seconds = service.at_once(partial(timed, calls[0]))[0]
        assert answer.status_code == 500
        assert seconds < SECONDS
        assert requests.get(f"{service.url}/healthz", timeout=SECONDS).status_code == 200
    deadline = time.monotonic() + 20
    while not requests.get(url, timeout=30).ok:
        assert time.monotonic() < deadline
    for answer in service.at_once(*[lambda s: s.get(url, timeout=30)] * 16):
        assert answer.ok, answer.text
