"""Rescue of jobs whose lease has expired."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg2
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from app.jobs import lease_queries
from app.queue.backoff import delay_seconds
from support.leases import Jobs
from support.service import ROOT, Service, environment, wait_until

WORKER = """
import json, sys, time, urllib.request

def call(method, path, body, headers={}):
    request = urllib.request.Request(sys.argv[1] + path, json.dumps(body).encode(),
        {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)

ask = {"worker_id": "sleepy", "domains": [sys.argv[2]], "lease_seconds": 5}
job = call("POST", "/next", ask)[1]["data"][0]
print("taken", flush=True)
sys.stdin.readline()
body = {"status": "completed", "stats": {"by": "sleepy"}}
print(json.dumps(call("PUT", "/" + job["id"], body, {"X-Lease-Token": job["lease_token"]})), flush=True)
"""


def test_paused_worker_cannot_overwrite_its_successor(
    service: Service,
) -> None:
    domain = "sleepy.example"
    job_id = service.create(domain=domain)["id"]
    command = [sys.executable, "-c", WORKER, service.jobs, domain]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == "taken\n"
        worker.send_signal(signal.SIGSTOP)
        get = f"{service.jobs}/{job_id}"
        wait_until(lambda: requests.get(get, timeout=30).json()["data"]["status"] == "pending", 30)
        with (
            psycopg2.connect(service._settings["DATABASE_URL"]) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("UPDATE scrape_jobs SET scheduled_for = now() WHERE id = %s", (job_id,))
        connection.close()
        ask = {"worker_id": "awake", "domains": [domain]}
        (taken,) = requests.post(f"{service.jobs}/next", json=ask, timeout=30).json()["data"]
        worker.send_signal(signal.SIGCONT)
        worker.stdin.write("\n")
        worker.stdin.flush()
        assert '[409, {"success": false, "error": "Lease lost"}]' in worker.stdout.readline()
    done = {"status": "completed", "stats": {"by": "awake"}}
    assert (
        requests.put(
            get, json=done, headers={"X-Lease-Token": taken["lease_token"]}, timeout=5
        ).status_code
        == 200
    )
    after = requests.get(get, timeout=30).json()["data"]
    assert (after["stats"], after["status"], after["retry_count"]) == (
        {"by": "awake"},
        "completed",
        1,
    )


def test_rescue_records_two_system_events(jobs: Jobs) -> None:
    (job_id,) = jobs.expired(1, retry_count=2)
    assert jobs.sweep() == 1
    job, (failed, retried) = jobs.show(job_id), jobs.history(job_id)
    assert (job["status"], job["retry_count"], job["worker_id"], job["error_message"]) == (
        "pending",
        3,
        None,
        None,
    )
    message = "Lease expired: no sign of life from worker gone"
    assert failed["changes"]["error_message"]["to"] == message
    steps = [(e["id"], e["action"], e["old_status"], e["new_status"]) for e in (failed, retried)]
    assert steps == [(3, "lease_expired", "running", "failed"), (4, "retried", "failed", "pending")]
    assert failed["actor"] == retried["actor"] == {"type": "system", "id": None, "name": None}
    assert jobs.rows("SELECT count(*) FROM outbox WHERE job_id = %s", job_id) == [(2,)]
    wait = jobs.rows(
        "SELECT extract(epoch FROM scheduled_for - updated_at)::float8 FROM scrape_jobs WHERE id = %s",
        job_id,
    )
    assert 60 * 0.8 <= wait[0][0] <= 60 * 1.2


def test_last_lost_attempt_stays_failed(jobs: Jobs) -> None:
    (job_id,) = jobs.expired(1, retry_count=3)
    assert jobs.sweep() == 1
    job = jobs.show(job_id)
    message = "Lease expired: no sign of life from worker gone"
    assert (job["status"], job["retry_count"], job["error_message"]) == ("failed", 3, message)
    assert jobs.sweep() == 0
    assert jobs.put(job_id, stats={"late": 1}, error_message="I am back") == 409
    assert (jobs.show(job_id)["stats"], jobs.show(job_id)["error_message"]) == ({}, message)


def test_job_without_lease_is_left_alone(jobs: Jobs) -> None:
    (job_id,) = jobs.expired(1)
    jobs.rows(
        "UPDATE scrape_jobs SET lease_token = NULL, lease_seconds = NULL, lease_expires_at = NULL WHERE id = %s",
        job_id,
    )
    assert jobs.sweep() == 0
    assert jobs.show(job_id)["status"] == "running"


@given(st.integers(0, 2**31 - 1), st.floats(0, 1))
def test_delay_doubles_with_jitter_of_a_fifth(retry_count: int, chance: float) -> None:
    wait = min(2 ** min(retry_count, 50) * 15, 3600)
    assert wait * 0.8 <= delay_seconds(retry_count, chance) <= wait * 1.2
    assert delay_seconds(retry_count, 0.5) == wait


SAVED: dict[str, Callable[[Jobs, str], int]] = {
    "completed": lambda jobs, job_id: jobs.put(job_id, status="completed"),
    "running": lambda jobs, job_id: jobs.put(job_id, stats={"pagesProcessed": 1}),
}


@pytest.mark.parametrize("status", SAVED)
def test_heartbeat_during_rescue_wins(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    (job_id,) = jobs.expired(1)
    look = lease_queries.expired

    def look_and_be_overtaken(limit: int) -> list[tuple[Any, str, int]]:
        found = look(limit)
        assert SAVED[status](jobs, job_id) == 200
        return found

    monkeypatch.setattr(lease_queries, "expired", look_and_be_overtaken)
    assert jobs.sweep() == 0
    assert jobs.show(job_id)["status"] == status
    assert len(jobs.history(job_id)) == 1


def test_a_sweeper_passes_over_a_locked_job(jobs: Jobs) -> None:
    (job_id,) = jobs.expired(1)
    with (
        psycopg2.connect(jobs.url) as holder,
        holder.cursor() as cursor,
        ThreadPoolExecutor(1) as pool,
    ):
        cursor.execute(
            "UPDATE scrape_jobs SET lease_expires_at = now() + interval '1 min' WHERE id = %s",
            (job_id,),
        )
        assert (
            pool.submit(jobs.sweep).result(timeout=1.5) == 0
        )  # waiting for the row would take 2 s
        holder.commit()
        assert jobs.sweep() == 0
    holder.close()
    assert jobs.show(job_id)["status"] == "running"


def test_locked_jobs_hide_no_expired_jobs(jobs: Jobs) -> None:
    locked = jobs.expired(250)
    jobs.rows(
        "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 min' WHERE id = ANY(%s::uuid[])",
        locked,
    )
    jobs.expired(150)
    with psycopg2.connect(jobs.url) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT FROM scrape_jobs WHERE id = ANY(%s::uuid[]) FOR UPDATE", (locked,))
        assert jobs.sweep() == 150
    holder.close()
    assert jobs.sweep() == 250


def test_sweepers_that_meet_rescue_each_job_once(jobs: Jobs) -> None:
    ids = jobs.expired(120)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: jobs.sweep(), range(4))) == 120
    counts = jobs.rows(
        "SELECT DISTINCT count(*) FROM job_events WHERE job_id = ANY(%s::uuid[]) GROUP BY job_id",
        ids,
    )
    assert counts == [(2,)]


def test_killed_sweeper_leaves_jobs_consistent(jobs: Jobs) -> None:
    ids = jobs.expired(600)
    chance = random.Random(7)
    left = "SELECT count(*) FROM scrape_jobs WHERE id = ANY(%s::uuid[]) AND status = %s"
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "queue", "sweep"]
    for _ in range(3):
        before = jobs.rows(left, ids, "running")
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(DATABASE_URL=jobs.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as sweeper_process:
            wait_until(partial(lambda count: jobs.rows(left, ids, "running") != count, before), 30)
            time.sleep(chance.uniform(0.01, 0.3))
            assert sweeper_process.poll() is None
            sweeper_process.kill()
        assert jobs.rows(left, ids, "failed") == [(0,)]
    assert jobs.rows(left, ids, "running") != [(0,)]
    jobs.sweep()
    assert jobs.rows(left, ids, "pending") == [(600,)]
    counts = jobs.rows(
        "SELECT DISTINCT count(*) FROM job_events WHERE job_id = ANY(%s::uuid[]) GROUP BY job_id",
        ids,
    )
    assert counts == [(2,)]


def test_sweep_command_prints_number_of_jobs(jobs: Jobs) -> None:
    jobs.sweep()  # jobs of other tests
    jobs.expired(2)
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "queue", "sweep"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(DATABASE_URL=jobs.url),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "Rescued 2 jobs.\n"
