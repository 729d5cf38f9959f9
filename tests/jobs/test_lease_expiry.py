"""Expiry of leases and their rescue."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests

from app.errors import LockTimeout
from app.jobs import lease_queries
from support.jobs import API
from support.leases import Jobs
from support.service import Service, wait_until

TOKEN = {"X-Lease-Token": "token"}
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


def events(jobs: Jobs, job_id: str) -> list[tuple[str, str, str]]:
    return [
        (event["action"], event["old_status"], event["new_status"])
        for event in jobs.history(job_id)
    ]


RESCUED = [("lease_expired", "running", "failed"), ("retried", "failed", "pending")]
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
def test_late_heartbeat_succeeds_before_rescue(jobs: Jobs, what: str) -> None:
    (job_id,) = jobs.expired(1)
    assert LATE[what](jobs, job_id) == 200
    before = jobs.show(job_id)
    assert jobs.sweep() == 0
    assert jobs.show(job_id) == before


@pytest.mark.parametrize("what", LATE)
def test_heartbeat_fails_after_rescue(jobs: Jobs, what: str) -> None:
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
def test_change_during_rescue_is_kept(
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


def test_rescue_and_completion_exclude_each_other(jobs: Jobs) -> None:
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


def test_locked_job_delays_no_other_rescue(jobs: Jobs) -> None:
    ids = jobs.expired(60)
    with psycopg2.connect(jobs.url) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT FROM scrape_jobs WHERE id = %s FOR UPDATE", (ids[0],))
        with suppress(LockTimeout):
            jobs.sweep()
        pending = jobs.rows("SELECT count(*) FROM scrape_jobs WHERE status = 'pending'")
    holder.close()
    assert pending == [(59,)]


def test_retry_delay_doubles_up_to_an_hour(jobs: Jobs) -> None:
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
def test_lost_job_without_retries_stays_failed(
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


def test_running_job_without_lease_is_not_rescued(jobs: Jobs) -> None:
    client = jobs.app.test_client()
    job = client.post(API, json={"domain": "plain.example"}).get_json()["data"]
    running = client.put(f"{API}/{job['id']}", json={"status": "running"}).get_json()["data"]
    jobs.rows("UPDATE scrape_jobs SET started_at = started_at - interval '1 year'")
    assert jobs.sweep() == 0
    assert (running["lease_expires_at"], running["worker_id"]) == (None, None)
    assert jobs.show(job["id"])["status"] == "running"


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
        (taken,) = requests.post(f"{service.jobs}/next", json=body, timeout=30).json()["data"]
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
