"""Leases during outages of the database, the service, or both."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from app.jobs import outages
from support.database import migrate
from support.factories import new_domain
from support.leases import Jobs
from support.postgres import Postgres
from support.service import ROOT, Service, environment, own_work, wait_until

LEASE_SECONDS = 5
OUTAGE_SECONDS = 8
SETTINGS = {"WEB_CONCURRENCY": "2", "THREADS": "4"}


@contextmanager
def housekeeping(url: str) -> Iterator[None]:
    """Run `flask housekeeping` on the database."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "housekeeping"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(DATABASE_URL=url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()


class Ground:
    """A PostgreSQL and a service on it, both of which can be stopped."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.url = postgres.start()
        self.service: Service | None = None

    def start(self, **settings: str) -> Service:
        self.service = Service(self.url, **SETTINGS, **settings)
        return self.service.__enter__()

    def stop(self) -> None:
        if self.service is not None:
            self.service.__exit__(None, None, None)
        self.service = None


@pytest.fixture(scope="module")
def postgres() -> Iterator[Ground]:
    postgres = Postgres(Path(tempfile.mkdtemp(prefix="sj-")))
    try:
        ground = Ground(postgres)
        migrate(ground.url)
        yield ground
    finally:
        postgres.delete()


@pytest.fixture
def ground(postgres: Ground) -> Iterator[Ground]:
    """The same, with a service that is stopped after the test."""
    yield postgres
    postgres.stop()


def claim(service: Service) -> dict[str, Any]:
    """Create a job, claim it with a lease of `LEASE_SECONDS`, and return it."""
    domain = new_domain()
    service.create(domain=domain)
    asked = {"worker_id": "w1", "domains": [domain], "lease_seconds": LEASE_SECONDS}
    (job,) = requests.post(f"{service.jobs}/next", json=asked, timeout=30).json()["data"]
    found: dict[str, Any] = job
    return found


def heartbeat(service: Service, job: dict[str, Any]) -> requests.Response:
    """Send a heartbeat, and repeat it while the database is unavailable."""
    deadline = time.monotonic() + 20
    while True:
        headers = {"X-Lease-Token": job["lease_token"]}
        answer = requests.post(f"{service.jobs}/{job['id']}/heartbeat", headers=headers, timeout=20)
        if answer.status_code != 500 or time.monotonic() > deadline:
            return answer
        time.sleep(0.05)


def show(service: Service, job: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = requests.get(f"{service.jobs}/{job['id']}", timeout=30).json()["data"]
    return shown


def actions(service: Service, job: dict[str, Any]) -> list[str]:
    answer = requests.get(f"{service.jobs}/{job['id']}/history", timeout=30)
    return [event["action"] for event in answer.json()["data"]]


def freeze(ground: Ground) -> None:
    with ground.postgres.frozen():
        time.sleep(OUTAGE_SECONDS)


def stop_database(ground: Ground) -> None:
    ground.postgres.stop()
    time.sleep(OUTAGE_SECONDS)
    assert ground.postgres.start() == ground.url


def stop_service(ground: Ground) -> None:
    ground.stop()
    time.sleep(OUTAGE_SECONDS)
    ground.start()


def stop_both(ground: Ground) -> None:
    ground.stop()
    stop_database(ground)
    ground.start()


OUTAGES: dict[str, Callable[[Ground], None]] = {
    "the database stands still": freeze,
    "the database is stopped": stop_database,
    "the service is stopped": stop_service,
    "both are stopped": stop_both,
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_living_worker_keeps_its_job(ground: Ground, outage: str) -> None:
    job = claim(ground.start())
    OUTAGES[outage](ground)
    service = ground.service
    assert service is not None
    answer = heartbeat(service, job)
    assert answer.status_code == 200, answer.text
    time.sleep(2)  # sweepers have run by now
    now = show(service, job)
    assert (now["status"], now["retry_count"], now["worker_id"]) == ("running", 0, "w1")
    assert actions(service, job) == ["created", "claimed"]


def test_a_dead_worker_gets_one_more_lease(ground: Ground) -> None:
    service = ground.start()
    job = claim(service)
    freeze(ground)
    back = time.monotonic()
    wait_until(lambda: requests.get(f"{service.jobs}/{job['id']}", timeout=30).ok, 30)
    wait_until(lambda: show(service, job)["status"] == "pending", 30)
    assert time.monotonic() - back >= LEASE_SECONDS - 0.5
    assert show(service, job)["retry_count"] == 1


@pytest.mark.timed
def test_without_an_outage_rescue_follows_expiry(ground: Ground) -> None:
    service = ground.start()
    job = claim(service)
    started = time.monotonic()
    wait_until(lambda: show(service, job)["status"] == "pending", 30)
    assert time.monotonic() - started < LEASE_SECONDS + 10


def test_housekeeping_alone_takes_no_job(ground: Ground) -> None:
    service = ground.start(SCRAPE_JOBS_HOUSEKEEPING="off")
    lost, kept = claim(service), claim(service)
    with housekeeping(ground.url):
        wait_until(
            lambda: heartbeat(service, kept).ok and show(service, lost)["status"] == "pending", 30
        )
        ground.stop()
        time.sleep(OUTAGE_SECONDS)
        service = ground.start(SCRAPE_JOBS_HOUSEKEEPING="off")
        assert heartbeat(service, kept).status_code == 200
        assert show(service, kept)["retry_count"] == 0


@pytest.fixture
def jobs(lease_database: Jobs) -> Jobs:
    """A database without jobs, on which the service has just started."""
    lease_database.rows("DELETE FROM scrape_jobs")
    lease_database.rows("DELETE FROM service_pulse")
    beat(lease_database)
    return lease_database


def beat(jobs: Jobs) -> None:
    with own_work(jobs.app):
        outages.detect_outage()


def pass_time(jobs: Jobs, seconds: float) -> None:
    """Shift all recorded times into the past."""
    age = f"interval '{seconds} seconds'"
    jobs.rows(
        f"""UPDATE service_pulse SET seen_at = seen_at - {age}, outages = coalesce((SELECT range_agg(
            tstzrange(lower(o) - {age}, upper(o) - {age}, '()')) FROM unnest(outages) AS o), '{{}}')"""
    )
    jobs.rows(f"UPDATE scrape_jobs SET lease_expires_at = lease_expires_at - {age}")


def noted_outages(jobs: Jobs) -> list[float]:
    """Return the recorded outages in seconds, the oldest first."""
    sql = "SELECT extract(epoch FROM upper(o) - lower(o))::float8 FROM service_pulse, unnest(outages) AS o ORDER BY o"
    return [seconds for (seconds,) in jobs.rows(sql)]


def lease(jobs: Jobs, ends_in: float) -> str:
    """Insert a running job of a dead worker whose lease of 60 s ends in `seconds`."""
    sql = f"""
        INSERT INTO scrape_jobs (id, domain_id, domain, job_type, priority, max_retries, status, version, status_seq,
            worker_id, lease_token, lease_seconds, lease_expires_at, created_at, updated_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 'lost.example', 'page', 5, 3, 'running', 2, 2, 'gone', 'token',
            60, now() + interval '{ends_in} seconds', now(), now() RETURNING id::text"""
    return str(jobs.rows(sql)[0][0])


def test_regular_beats_are_no_outage(jobs: Jobs) -> None:
    for _ in range(3):
        pass_time(jobs, 2.5)
        beat(jobs)
    assert noted_outages(jobs) == []


def test_processes_note_one_outage_together(jobs: Jobs) -> None:
    pass_time(jobs, 100)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: beat(jobs), range(6)))
    assert noted_outages(jobs) == [pytest.approx(100, abs=5)]


def test_late_beats_give_a_lease_one_chance(jobs: Jobs) -> None:
    job_id = lease(jobs, ends_in=3)
    for late in range(1, 14):
        pass_time(jobs, 5)
        beat(jobs)
        if late < 12:
            assert jobs.sweep() == 0, late
    assert len(noted_outages(jobs)) == 13
    assert jobs.sweep() == 1
    assert jobs.show(job_id)["status"] == "pending"


def test_only_leases_inside_an_outage_are_kept(jobs: Jobs) -> None:
    outage = "tstzmultirange(tstzrange(now() - interval '30 seconds', now() - interval '20 seconds', '()'))"
    jobs.rows(f"UPDATE service_pulse SET seen_at = now(), outages = {outage}")
    before, during, after = (lease(jobs, ends_in=-seconds) for seconds in (31, 25, 2))
    assert jobs.sweep() == 2
    statuses = [jobs.show(job_id)["status"] for job_id in (before, during, after)]
    assert statuses == ["pending", "running", "pending"]


def test_leases_are_kept_while_no_service_runs(jobs: Jobs) -> None:
    lease(jobs, ends_in=1)
    pass_time(jobs, 10)
    assert jobs.sweep() == 0
    pass_time(jobs, 25 * 3600)
    assert jobs.sweep() == 1


def test_old_outages_are_forgotten(jobs: Jobs) -> None:
    for _ in range(3):
        pass_time(jobs, 3600)
        beat(jobs)
    assert len(noted_outages(jobs)) == 2


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_clock_that_jumps_is_followed(jobs: Jobs, step: int) -> None:
    pass_time(jobs, step)
    beat(jobs)
    ((age,),) = jobs.rows(
        "SELECT abs(extract(epoch FROM now() - seen_at))::float8 FROM service_pulse"
    )
    assert age < 3
    assert len(noted_outages(jobs)) == (step > 0)
