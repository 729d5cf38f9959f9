"""The moments at the edge of a lease: who is the faster one, who may still speak, and who waits for
what."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests

from app.errors import LockTimeout
from app.jobs import lease_queries
from support.database import migrate, new_database
from support.service import Service, wait_until
from tests.jobs.test_leases import Jobs

API = "/api/scrape-jobs"
TOKEN = {"X-Lease-Token": "token"}
NONE: Mapping[str, str] = {}
MESSAGE = "Lease expired: no sign of life from worker gone"

SHIFTED_CLOCK = """
import datetime, os, time
_seconds = int(os.environ["CLOCK_SHIFT"])
_time, _time_ns, _gmtime, _datetime = time.time, time.time_ns, time.gmtime, datetime.datetime
time.time = lambda: _time() + _seconds
time.time_ns = lambda: _time_ns() + _seconds * 10**9
time.gmtime = lambda at=None: _gmtime(time.time() if at is None else at)
class Shifted(_datetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + datetime.timedelta(seconds=_seconds)
    @classmethod
    def utcnow(cls):
        return _datetime.utcnow() + datetime.timedelta(seconds=_seconds)
datetime.datetime = Shifted
"""


@pytest.fixture(scope="module")
def only_jobs(server_url: str) -> Iterator[Jobs]:
    for url in new_database(server_url):
        migrate(url)
        jobs = Jobs(url)
        yield jobs
        jobs.connection.close()
        with jobs.app.app_context():
            jobs.app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def jobs(only_jobs: Jobs) -> Jobs:
    for table in ("scrape_jobs", "job_events", "outbox", "uncounted_events", "service_pulse"):
        only_jobs.rows(
            f"DELETE FROM {table}"
        )  # to truncate them would wait for services that wait for that
    return only_jobs


@pytest.fixture(scope="module")
def waiting(only_jobs: Jobs) -> Iterator[Service]:
    """A service of one process with four threads that rescues nobody by itself."""
    with Service(
        only_jobs.url, SCRAPE_JOBS_HOUSEKEEPING="off", WEB_CONCURRENCY="1", THREADS="4"
    ) as service:
        yield service


def events(jobs: Jobs, job_id: str) -> list[tuple[str, str, str]]:
    return [
        (event["action"], event["old_status"], event["new_status"])
        for event in jobs.history(job_id)
    ]


RESCUED = [("lease_expired", "running", "failed"), ("retried", "failed", "pending")]


# -------------------------------------------------------------------------------------------------------------- rescue


LATE: dict[str, Callable[[Jobs, str], int]] = {
    "heartbeat": lambda jobs, job_id: post(jobs, job_id, "heartbeat"),
    "stats": lambda jobs, job_id: jobs.put(job_id, stats={"a": 1}),
    "completed": lambda jobs, job_id: jobs.put(job_id, status="completed"),
    "failed": lambda jobs, job_id: jobs.put(job_id, status="failed"),
    "retry": lambda jobs, job_id: post(jobs, job_id, "retry"),
    "release": lambda jobs, job_id: post(jobs, job_id, "release"),
}


def post(jobs: Jobs, job_id: str, what: str) -> int:
    return jobs.app.test_client().post(f"{API}/{job_id}/{what}", headers=TOKEN).status_code


@pytest.mark.parametrize("what", LATE)
def test_a_late_sign_of_life_counts_until_the_job_is_taken_away(jobs: Jobs, what: str) -> None:
    (job_id,) = jobs.expired(1)
    assert LATE[what](jobs, job_id) == 200
    before = jobs.show(job_id)
    assert jobs.sweep() == 0
    assert jobs.show(job_id) == before


@pytest.mark.parametrize("what", LATE)
def test_no_sign_of_life_counts_once_the_job_is_taken_away(jobs: Jobs, what: str) -> None:
    (job_id,) = jobs.expired(1)
    assert jobs.sweep() == 1
    before = jobs.show(job_id)
    assert LATE[what](jobs, job_id) == 409
    assert jobs.show(job_id) == before
    assert events(jobs, job_id) == RESCUED


OVERTAKEN: dict[str, Callable[[Jobs, str], object]] = {
    **LATE,
    "cancelled": lambda jobs, job_id: jobs.app.test_client().delete(f"{API}/{job_id}"),
    "taken anew": lambda jobs, job_id: release_and_take(jobs, job_id),
    "removed": lambda jobs, job_id: jobs.rows("DELETE FROM scrape_jobs WHERE id = %s", job_id),
    "rescued": lambda jobs, job_id: jobs.rows(
        "UPDATE scrape_jobs SET status = 'failed', lease_expires_at = NULL WHERE id = %s", job_id
    ),
}


def release_and_take(jobs: Jobs, job_id: str) -> None:
    assert post(jobs, job_id, "release") == 200
    body = {"worker_id": "w2", "domains": ["lost.example"]}
    (taken,) = jobs.app.test_client().post(f"{API}/next", json=body).get_json()["data"]
    assert taken["id"] == job_id


@pytest.mark.parametrize("what", OVERTAKEN)
def test_what_happens_between_the_sweeper_s_look_and_its_write_stands(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (job_id,) = jobs.expired(1)
    look, left = lease_queries.expired, []

    def look_and_be_overtaken(limit: int) -> list[tuple[Any, str, int]]:
        found = look(limit)
        OVERTAKEN[what](jobs, job_id)
        left.append(jobs.rows("SELECT * FROM scrape_jobs"))
        return found

    monkeypatch.setattr(lease_queries, "expired", look_and_be_overtaken)
    assert jobs.sweep() == 0
    assert jobs.rows("SELECT * FROM scrape_jobs") == left[0]
    actions = jobs.rows("SELECT action FROM job_events WHERE job_id = %s", job_id)
    assert ("lease_expired",) not in actions


def test_of_a_sweeper_and_a_worker_that_ends_its_job_exactly_one_is_the_faster(jobs: Jobs) -> None:
    ids = jobs.expired(150)
    start = threading.Barrier(3, timeout=30)

    def complete() -> dict[str, int]:
        start.wait()
        return {job_id: jobs.put(job_id, status="completed", stats={"pages": 7}) for job_id in ids}

    def sweep() -> int:
        start.wait()
        return jobs.sweep()

    with ThreadPoolExecutor(3) as pool:
        sweeps, answers = [pool.submit(sweep) for _ in range(2)], pool.submit(complete)
        rescued = sum(done.result() for done in sweeps)
        told = answers.result()
    assert set(told.values()) <= {200, 409}
    assert rescued == list(told.values()).count(409)
    completed = dict(jobs.rows("SELECT id::text, status FROM scrape_jobs"))
    for job_id, status in told.items():
        assert completed[job_id] == ("completed" if status == 200 else "pending")
    made = dict(
        jobs.rows(
            "SELECT job_id::text, array_agg(action ORDER BY seq) FROM job_events GROUP BY job_id"
        )
    )
    assert all(
        made[i] == (["updated"] if s == 200 else ["lease_expired", "retried"])
        for i, s in told.items()
    )


def test_one_job_that_somebody_holds_locked_delays_no_other_s_rescue(jobs: Jobs) -> None:
    ids = jobs.expired(60)
    with psycopg2.connect(jobs.url) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT FROM scrape_jobs WHERE id = %s FOR UPDATE", (ids[0],))
        with suppress(LockTimeout):
            jobs.sweep()
        pending = jobs.rows("SELECT count(*) FROM scrape_jobs WHERE status = 'pending'")
    holder.close()
    assert pending == [(59,)]


def test_each_retry_waits_twice_as_long_as_the_one_before_up_to_an_hour(jobs: Jobs) -> None:
    counts = {
        job_id: count
        for count in range(12)
        for job_id in jobs.expired(5, retry_count=count, max_retries=99)
    }
    assert jobs.sweep() == 60
    ratios = []
    for job_id, retry_count, wait in jobs.rows(
        "SELECT id::text, retry_count, extract(epoch FROM scheduled_for - updated_at)::float8 FROM scrape_jobs"
    ):
        assert retry_count == counts[job_id] + 1
        ratios.append(wait / min(2 ** counts[job_id] * 15, 3600))
    assert all(0.7999 <= ratio <= 1.2001 for ratio in ratios)
    assert max(ratios) - min(ratios) > 0.2


@pytest.mark.parametrize(("retry_count", "max_retries"), [(0, 0), (3, 3), (5, 3), (100, 100)])
def test_a_job_without_retries_left_stays_failed_when_it_is_lost(
    jobs: Jobs, retry_count: int, max_retries: int
) -> None:
    (job_id,) = jobs.expired(1, retry_count, max_retries)
    assert jobs.sweep() == 1
    job = jobs.show(job_id)
    assert (job["status"], job["retry_count"], job["error_message"]) == (
        "failed",
        retry_count,
        MESSAGE,
    )
    assert (job["worker_id"], job["lease_expires_at"]) == ("gone", None)
    assert job["completed_at"] == job["updated_at"]
    assert events(jobs, job_id) == RESCUED[:1]
    assert jobs.rows("SELECT count(*) FROM outbox") == [(1,)]


def test_a_running_job_that_nobody_leased_is_never_rescued(jobs: Jobs) -> None:
    client = jobs.app.test_client()
    job = client.post(API, json={"domain": "plain.example"}).get_json()["data"]
    running = client.put(f"{API}/{job['id']}", json={"status": "running"}).get_json()["data"]
    jobs.rows("UPDATE scrape_jobs SET started_at = started_at - interval '1 year'")
    assert jobs.sweep() == 0
    assert (running["lease_expires_at"], running["worker_id"]) == (None, None)
    assert jobs.show(job["id"])["status"] == "running"


# -------------------------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("shift", [3600, -3600])
def test_the_application_s_clock_decides_nothing(jobs: Jobs, folder: Path, shift: int) -> None:
    (folder / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    with Service(
        jobs.url, PYTHONPATH=str(folder), CLOCK_SHIFT=str(shift), WEB_CONCURRENCY="1"
    ) as service:
        soon, past = (
            jobs.rows("SELECT to_json(now() + %s * interval '1 min')", n)[0][0] for n in (30, -30)
        )
        service.create(domain="clock.example", scheduled_for=soon)
        due = service.create(domain="clock.example", scheduled_for=past)
        body = {"worker_id": "w", "domains": ["clock.example"], "limit": 9}
        (taken,) = requests.post(f"{service.jobs}/next", json=body, timeout=10).json()["data"]
        assert taken["id"] == due["id"]
        headers = {"X-Lease-Token": taken["lease_token"]}
        left = "SELECT extract(epoch FROM lease_expires_at - now())::float8 FROM scrape_jobs WHERE id = %s"
        assert 50 < jobs.rows(left, due["id"])[0][0] <= 60
        assert requests.post(
            f"{service.jobs}/{due['id']}/heartbeat", headers=headers, timeout=10
        ).ok
        assert 55 < jobs.rows(left, due["id"])[0][0] <= 60
        time.sleep(1.5)
        assert jobs.show(due["id"])["status"] == "running"
        jobs.rows("UPDATE scrape_jobs SET lease_expires_at = now() WHERE id = %s", due["id"])
        wait_until(lambda: jobs.show(due["id"])["status"] == "pending")
        wait = "SELECT extract(epoch FROM scheduled_for - now())::float8 FROM scrape_jobs WHERE id = %s"
        assert 5 < jobs.rows(wait, due["id"])[0][0] <= 18
        logged = [json.loads(line) for line in service.logs().splitlines() if line.startswith("{")]
        assert logged, "the clock is known by what the service logs"
        shown = seconds_ahead(jobs, logged[-1]["at"])
        assert abs(shown - shift) < 60, "the service's clock is wrong, as it should be"


def seconds_ahead(jobs: Jobs, moment: str) -> float:
    return float(
        jobs.rows("SELECT extract(epoch FROM %s::timestamptz - now())::float8", moment)[0][0]
    )


# ------------------------------------------------------------------------------------------------------------- waiting


class Caller:
    """A request for work over a connection of its own, which may be left at any moment."""

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
    """Ask for work, and return the ids of what came."""
    body = {"worker_id": "w", "domains": ["wait.example"], "wait_seconds": seconds}
    answer = requests.post(f"{service.jobs}/next", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["data"]]


def seconds_until(answer: Future[list[str]]) -> float:
    began = time.monotonic()
    answer.result(30)
    return time.monotonic() - began


def create(jobs: Jobs) -> str:
    """Create a job by another process than the service's."""
    answer = jobs.app.test_client().post(API, json={"domain": "wait.example"})
    return str(answer.get_json()["data"]["id"])


def test_work_that_comes_by_the_same_process_is_had_at_once(jobs: Jobs, waiting: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, waiting)
        time.sleep(0.5)
        made = waiting.create(domain="wait.example")
        assert seconds_until(answer) < 1
    assert answer.result() == [made["id"]]


def test_work_that_comes_by_another_process_is_had_within_a_look(
    jobs: Jobs, waiting: Service
) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, waiting)
        time.sleep(0.5)
        made = create(jobs)
        assert seconds_until(answer) < 1.5
    assert answer.result() == [made]


def test_work_that_becomes_due_while_somebody_waits_is_had_then(
    jobs: Jobs, waiting: Service
) -> None:
    made = create(jobs)
    jobs.rows(
        "UPDATE scrape_jobs SET scheduled_for = now() + interval '1.2 seconds' WHERE id = %s", made
    )
    began = time.monotonic()
    assert ask(waiting) == [made]
    assert 1 < time.monotonic() - began < 3


def test_of_two_that_wait_one_gets_the_job_and_the_other_waits_on(
    jobs: Jobs, waiting: Service
) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask, waiting, 3) for _ in range(2)]
        time.sleep(0.5)
        made = waiting.create(domain="wait.example")
        assert sorted(answer.result() for answer in answers) == [[], [made["id"]]]


def test_half_of_the_threads_wait_and_who_comes_then_does_not(jobs: Jobs, waiting: Service) -> None:
    callers = [Caller(waiting) for _ in range(2)]
    time.sleep(0.3)
    began = time.monotonic()
    assert [ask(waiting) for _ in range(3)] == [[], [], []]
    assert requests.get(f"{waiting.url}/readyz", timeout=5).ok
    assert time.monotonic() - began < 2
    for caller in callers:
        caller.hang_up()
    time.sleep(1)
    began = time.monotonic()
    assert ask(waiting, 1) == []
    assert time.monotonic() - began >= 1


def test_who_hangs_up_gets_nothing_and_may_ask_again_with_the_same_key(
    jobs: Jobs, waiting: Service
) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    caller = Caller(waiting, headers=key)
    time.sleep(0.6)
    caller.hang_up()
    time.sleep(0.1)
    made = waiting.create(domain="wait.example")["id"]
    time.sleep(0.8)
    assert jobs.show(made)["status"] == "pending"
    assert ask(waiting, headers=key) == [made]
