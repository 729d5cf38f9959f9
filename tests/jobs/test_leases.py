"""Workers that fall silent, come back late, or wait for work; and who looks after their jobs."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg2
import pytest
import requests
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from app.config import Settings
from app.factory import create_app
from app.jobs import lease_queries
from app.queue import sweeper
from app.queue.backoff import delay_seconds
from support.database import migrate, new_database
from support.service import ROOT, Service, environment, own_work, wait_until

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


class Jobs:
    """A database of this module's own, with a service on it whose housekeeping is off, and the
    application in here."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: Flask = create_app(
            Settings(auth="off", rate_limit=False, database_url=url, threads=8)
        )
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def expired(self, number: int, retry_count: int = 0, max_retries: int = 3) -> list[str]:
        """Make running jobs whose lease has run out, though it could be extended, and return their
        ids."""
        self.rows("DELETE FROM service_pulse")  # of a service that ran here and stopped: an outage
        sql = """
            INSERT INTO scrape_jobs (id, domain_id, domain, job_type, priority, max_retries, retry_count, status,
                version, status_seq, worker_id, lease_token, lease_seconds, lease_expires_at, created_at, updated_at)
            SELECT gen_random_uuid(), gen_random_uuid(), 'lost.example', 'page', 5, %s, %s, 'running', 2, 2, 'gone',
                'token', 60, now() - interval '1 second', now(), now() FROM generate_series(1, %s) RETURNING id::text"""
        return [row[0] for row in self.rows(sql, max_retries, retry_count, number)]

    def show(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = (
            self.app.test_client().get(f"/api/scrape-jobs/{job_id}").get_json()["data"]
        )
        return job

    def history(self, job_id: str) -> list[dict[str, Any]]:
        answer = self.app.test_client().get(f"/api/scrape-jobs/{job_id}/history?limit=200")
        events: list[dict[str, Any]] = answer.get_json()["data"]
        return events

    def sweep(self) -> int:
        with own_work(self.app):
            return sweeper.sweep()

    def put(self, job_id: str, **fields: Any) -> int:
        url, token = f"/api/scrape-jobs/{job_id}", {"X-Lease-Token": "token"}
        return self.app.test_client().put(url, json=fields, headers=token).status_code


@pytest.fixture(scope="module")
def jobs(server_url: str) -> Iterator[Jobs]:
    for url in new_database(server_url):
        migrate(url)
        jobs = Jobs(url)
        yield jobs
        jobs.connection.close()
        with own_work(jobs.app):
            jobs.app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture(scope="module")
def unkept(jobs: Jobs) -> Iterator[Service]:
    """A service that rescues nobody by itself."""
    with Service(jobs.url, SCRAPE_JOBS_HOUSEKEEPING="off", WEB_CONCURRENCY="1") as service:
        yield service


# -------------------------------------------------------------------------------------------------------------- rescue


def test_a_worker_that_was_stopped_past_its_lease_cannot_undo_its_successor_s_work(
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
        wait_until(lambda: requests.get(get, timeout=5).json()["data"]["status"] == "pending", 15)
        with (
            psycopg2.connect(service._settings["DATABASE_URL"]) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("UPDATE scrape_jobs SET scheduled_for = now() WHERE id = %s", (job_id,))
        connection.close()
        ask = {"worker_id": "awake", "domains": [domain]}
        (taken,) = requests.post(f"{service.jobs}/next", json=ask, timeout=5).json()["data"]
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
    after = requests.get(get, timeout=5).json()["data"]
    assert (after["stats"], after["status"], after["retry_count"]) == (
        {"by": "awake"},
        "completed",
        1,
    )


def test_a_rescue_is_two_changes_by_the_service_itself(jobs: Jobs) -> None:
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


def test_at_the_last_attempt_a_lost_job_stays_failed(jobs: Jobs) -> None:
    (job_id,) = jobs.expired(1, retry_count=3)
    assert jobs.sweep() == 1
    job = jobs.show(job_id)
    message = "Lease expired: no sign of life from worker gone"
    assert (job["status"], job["retry_count"], job["error_message"]) == ("failed", 3, message)
    assert jobs.sweep() == 0
    assert jobs.put(job_id, stats={"late": 1}, error_message="I am back") == 409
    assert (jobs.show(job_id)["stats"], jobs.show(job_id)["error_message"]) == ({}, message)


def test_a_job_that_runs_without_a_lease_is_left_alone(jobs: Jobs) -> None:
    (job_id,) = jobs.expired(1)
    jobs.rows(
        "UPDATE scrape_jobs SET lease_token = NULL, lease_seconds = NULL, lease_expires_at = NULL WHERE id = %s",
        job_id,
    )
    assert jobs.sweep() == 0
    assert jobs.show(job_id)["status"] == "running"


@given(st.integers(0, 2**31 - 1), st.floats(0, 1))
def test_the_wait_doubles_up_to_an_hour_give_or_take_a_fifth(
    retry_count: int, chance: float
) -> None:
    wait = min(2 ** min(retry_count, 50) * 15, 3600)
    assert wait * 0.8 <= delay_seconds(retry_count, chance) <= wait * 1.2
    assert delay_seconds(retry_count, 0.5) == wait


SAVED: dict[str, Callable[[Jobs, str], int]] = {
    "completed": lambda jobs, job_id: jobs.put(job_id, status="completed"),
    "running": lambda jobs, job_id: jobs.put(job_id, stats={"pagesProcessed": 1}),
}


@pytest.mark.parametrize("status", SAVED)
def test_a_sign_of_life_between_the_sweeper_s_look_and_its_write_is_what_counts(
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
        assert pool.submit(jobs.sweep).result(timeout=1.5) == 0  # a wait for the row would take 2 s
        holder.commit()
        assert jobs.sweep() == 0
    holder.close()
    assert jobs.show(job_id)["status"] == "running"


def test_locked_jobs_hide_no_others_from_the_sweeper(jobs: Jobs) -> None:
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


def test_a_sweeper_that_is_killed_leaves_no_job_half_way(jobs: Jobs) -> None:
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


def test_the_command_rescues_once_and_tells_how_many(jobs: Jobs) -> None:
    jobs.sweep()  # jobs that other tests have left
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


# ------------------------------------------------------------------------------------------------------------- clocks


# ------------------------------------------------------------------------------------------------------------- waiting


def ask(service: Service, domain: str, seconds: int) -> tuple[float, list[dict[str, Any]]]:
    """Ask for work, waiting `seconds`; return how long it took and what came."""
    began = time.monotonic()
    body = {"worker_id": "w", "domains": [domain], "wait_seconds": seconds}
    answer = requests.post(f"{service.jobs}/next", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return time.monotonic() - began, answer.json()["data"]


def test_a_request_waits_for_work_and_gets_it_when_it_comes(unkept: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, unkept, "awaited.example", 20)
        time.sleep(0.7)
        assert not waiting.done()
        made = unkept.create(domain="awaited.example")
        seconds, jobs = waiting.result()
    assert [job["id"] for job in jobs] == [made["id"]]
    assert seconds < 5


def test_a_request_waits_no_longer_than_it_asked(unkept: Service) -> None:
    seconds, jobs = ask(unkept, "never.example", 1)
    assert jobs == []
    assert 1 <= seconds < 3


def test_at_most_half_of_the_threads_wait_and_the_others_go_on(unkept: Service) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, unkept, "never.example", 4) for _ in range(2)]
        time.sleep(0.5)
        seconds, jobs = ask(unkept, "never.example", 4)
        assert jobs == []
        assert seconds < 2
        assert requests.get(f"{unkept.url}/readyz", timeout=2).ok
        assert all(done.result()[0] >= 4 for done in waiting)


def test_who_hangs_up_while_waiting_gets_no_job(unkept: Service, jobs: Jobs) -> None:
    body = b'{"worker_id": "w", "domains": ["hung-up.example"], "wait_seconds": 20}'
    with socket.create_connection(("127.0.0.1", unkept.port)) as caller:
        head = f"POST /api/scrape-jobs/next HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        caller.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        time.sleep(0.7)
    time.sleep(0.2)
    job = unkept.create(domain="hung-up.example")
    time.sleep(1.2)
    assert jobs.show(job["id"])["status"] == "pending"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_told_to_end_lets_nobody_wait(jobs: Jobs, number: int) -> None:
    with Service(jobs.url) as service, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, service, "never.example", 20)
        time.sleep(0.7)
        assert service.process is not None
        began = time.monotonic()
        # A terminal's Ctrl-C reaches every process, each of which is then told by its parent, too.
        for pid in service.pids() if number == signal.SIGINT else {service.process.pid}:
            os.kill(pid, number)
        assert waiting.result()[1] == []
        service.process.wait(20)
        assert time.monotonic() - began < 10


def test_a_waiting_request_with_a_key_is_answered_the_same_when_it_comes_again(
    unkept: Service,
) -> None:
    body = {"worker_id": "w", "domains": ["keyed.example"], "wait_seconds": 10}
    headers = {"Idempotency-Key": f"wait-{os.getpid()}-{threading.get_ident()}"}

    def post() -> requests.Response:
        return requests.post(f"{unkept.jobs}/next", json=body, headers=headers, timeout=30)

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(post) for _ in range(2)]
        time.sleep(0.7)
        unkept.create(domain="keyed.example")
        first, second = (answer.result().json()["data"] for answer in waiting)
    assert first == second == post().json()["data"]
    assert len(first) == 1
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", first[0]["lease_token"])
