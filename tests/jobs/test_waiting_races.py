"""Races of waiting requests."""

import json
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import requests

from support.jobs import API
from support.leases import Jobs
from support.service import Service

NONE: Mapping[str, str] = {}


@pytest.fixture(scope="module")
def waiting(lease_database: Jobs) -> Iterator[Service]:
    """A service of one process with four threads and without the sweeper."""
    with Service(
        lease_database.url, SCRAPE_JOBS_HOUSEKEEPING="off", WEB_CONCURRENCY="1", THREADS="4"
    ) as service:
        yield service


class Caller:
    """A request for jobs over its own connection, which can be closed at any time."""

    def __init__(
        self, service: Service, seconds: int = 20, headers: Mapping[str, str] = NONE
    ) -> None:
        body = json.dumps(
            {"worker_id": "w", "domains": ["wait.example"], "wait_seconds": seconds}
        ).encode()
        head = {
            "Host": "x",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }
        lines = [
            "POST /api/scrape-jobs/next HTTP/1.1",
            *(f"{name}: {value}" for name, value in head.items()),
            "",
            "",
        ]
        self.connection = socket.create_connection(("127.0.0.1", service.port), timeout=30)
        self.connection.sendall("\r\n".join(lines).encode() + body)

    def hang_up(self) -> None:
        self.connection.close()


def ask(service: Service, seconds: int = 20, headers: Mapping[str, str] = NONE) -> list[str]:
    """Claim jobs and return their ids."""
    body = {"worker_id": "w", "domains": ["wait.example"], "wait_seconds": seconds}
    answer = requests.post(f"{service.jobs}/next", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["data"]]


def seconds_until(answer: Future[list[str]]) -> float:
    began = time.monotonic()
    answer.result(30)
    return time.monotonic() - began


def create(jobs: Jobs) -> str:
    """Create a job in another process than the service."""
    answer = jobs.app.test_client().post(API, json={"domain": "wait.example"})
    return str(answer.get_json()["data"]["id"])


@pytest.mark.timed
def test_waiting_request_gets_local_job_at_once(jobs: Jobs, waiting: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, waiting)
        time.sleep(0.5)
        made = waiting.create(domain="wait.example")
        assert seconds_until(answer) < 5
    assert answer.result() == [made["id"]]


@pytest.mark.timed
def test_waiting_request_finds_job_of_other_process(jobs: Jobs, waiting: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, waiting)
        time.sleep(0.5)
        made = create(jobs)
        assert seconds_until(answer) < 5
    assert answer.result() == [made]


@pytest.mark.timed
def test_waiting_request_gets_job_when_due(jobs: Jobs, waiting: Service) -> None:
    made = create(jobs)
    jobs.rows(
        "UPDATE scrape_jobs SET scheduled_for = now() + interval '1.2 seconds' WHERE id = %s", made
    )
    began = time.monotonic()
    assert ask(waiting) == [made]
    assert 1 < time.monotonic() - began < 3


def test_one_of_two_waiting_requests_gets_job(jobs: Jobs, waiting: Service) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask, waiting, 3) for _ in range(2)]
        time.sleep(0.5)
        made = waiting.create(domain="wait.example")
        assert sorted(answer.result() for answer in answers) == [[], [made["id"]]]


@pytest.mark.timed
def test_half_of_the_threads_may_wait(jobs: Jobs, waiting: Service) -> None:
    callers = [Caller(waiting) for _ in range(2)]
    time.sleep(0.3)
    began = time.monotonic()
    assert [ask(waiting) for _ in range(3)] == [[], [], []]
    assert requests.get(f"{waiting.url}/readyz", timeout=30).ok
    assert time.monotonic() - began < 2
    for caller in callers:
        caller.hang_up()
    time.sleep(1)
    began = time.monotonic()
    assert ask(waiting, 1) == []
    assert time.monotonic() - began >= 1


def test_disconnected_client_may_repeat_its_key(jobs: Jobs, waiting: Service) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    caller = Caller(waiting, headers=key)
    time.sleep(0.6)
    caller.hang_up()
    time.sleep(0.1)
    made = waiting.create(domain="wait.example")["id"]
    time.sleep(0.8)
    assert jobs.show(made)["status"] == "pending"
    assert ask(waiting, headers=key) == [made]
