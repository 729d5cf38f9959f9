"""Workers that are killed, jobs that are cancelled, a service that restarts, lost answers."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from scrape_jobs import Conflict, Event, Job, RetryPolicy, ScrapeJobs

from support.cutting_proxy import CuttingProxy
from support.database import migrate
from support.service import ROOT, Service, free_port, wait_until

pytestmark = pytest.mark.slow

JOBS = 200
WORKERS = 8
LEASE = timedelta(seconds=8)
"""Longer than a restart of the service on a machine that is not busy."""

CUT_SHARE = 0.08

PROGRAM = """
import logging, sys
from scrape_jobs import ScrapeJobs
from support.worker_handlers import crawl
logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
worker = ScrapeJobs(sys.argv[1]).worker(
    concurrency=2, lease=int(sys.argv[3]), poll=1, grace=20, worker_id=sys.argv[2])
worker.handler(crawl)
worker.run()
"""


class Workers:
    """Worker processes; a killed one is replaced by one with another name."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._log = (folder / "workers.log").open("w")
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._started = 0
        self.killed: set[str] = set()

    def start(self) -> None:
        self._started += 1
        name = f"worker-{self._started}"
        self._running[name] = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self._url, name, str(LEASE.seconds)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "clients/python/src")},
            stderr=self._log,
            text=True,
        )

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()
        self.killed.add(name)
        self.start()

    def names(self) -> list[str]:
        return sorted(self._running)

    def end(self) -> list[int]:
        """Send SIGTERM to all, and return their exit codes."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        return [process.wait(60) for process in self._running.values()]

    def close(self) -> None:
        self._log.close()
        for process in self._running.values():
            process.kill()
            process.wait()


@pytest.fixture
def database(empty_database: str) -> str:
    """A database of the test's own: without the service nothing works on it."""
    migrate(empty_database)
    return empty_database


@pytest.fixture
def workers(proxy: CuttingProxy, tmp_path: Path) -> Iterator[Workers]:
    found = Workers(proxy.url, tmp_path)
    yield found
    found.close()


@pytest.fixture
def proxy() -> Iterator[CuttingProxy]:
    """A proxy of a service that is not running yet."""
    chance = random.Random(14)
    with CuttingProxy(free_port(), lambda _: chance.random() < CUT_SHARE) as proxy:
        yield proxy


def cancel_some(api: ScrapeJobs, jobs: Sequence[Job]) -> None:
    for job in jobs:
        with suppress(Conflict):  # it is completed already
            api.cancel(job.id, "enough")


def all_are_over(api: ScrapeJobs) -> bool:
    """Return whether all jobs are over; make those due that wait for their next attempt."""
    left = list(api.list(status=["pending", "running", "failed"], page_size=JOBS))
    for job in left:
        if job.status == "pending" and job.scheduled_for is not None:
            api.patch(job.id, {"scheduled_for": None})
    return not left


def test_each_job_ends_exactly_once(database: str, proxy: CuttingProxy, workers: Workers) -> None:
    chance = random.Random(14)
    settings = {"PORT": str(proxy.target), "WEB_CONCURRENCY": "1", "THREADS": "16"}
    api = ScrapeJobs(f"http://127.0.0.1:{proxy.target}", retry=RetryPolicy(attempts=30))
    configs = [{"pages": chance.randint(2, 15), "seconds": 0.1} for _ in range(JOBS)]
    restarts: list[tuple[datetime, datetime]] = []
    with Service(database, **settings):
        jobs = api.create_many([{"domain": "example.com", "config": config} for config in configs])
        victims = chance.sample(jobs, 24)
        for _ in range(WORKERS):
            workers.start()
        wait_until(lambda: next(api.list(status="running"), None))
        time.sleep(1)
        workers.kill(chance.choice(workers.names()))
        cancel_some(api, victims[:8])
        stopped_at = datetime.now(UTC)
    for number in (1, 2):  # the service restarts
        with Service(database, **settings):
            restarts.append((stopped_at, datetime.now(UTC)))
            for _ in range(2):
                time.sleep(chance.uniform(0.5, 1))
                workers.kill(chance.choice(workers.names()))
            cancel_some(api, victims[8 * number : 8 * number + 8])
            if number == 2:
                wait_until(lambda: all_are_over(api), 90)
                assert workers.end() == [0] * WORKERS
                ended = list(api.list(page_size=JOBS))
                histories = [list(api.history(job.id)) for job in ended]
            stopped_at = datetime.now(UTC)

    assert proxy.cut["POST"] > 10
    assert proxy.cut["PUT"] > 5
    statuses = Counter(job.status for job in ended)
    assert statuses["completed"] + statuses["cancelled"] == JOBS
    assert 0 < statuses["cancelled"] <= len(victims)
    for job, events in zip(ended, histories, strict=True):
        assert_ended_once(job, events)
        assert_only_the_dead_cost_retries(job, events, workers.killed, restarts)


def assert_ended_once(job: Job, events: list[Event]) -> None:
    """Assert that each attempt has one end, and the job one final state."""
    path = [event.new_status for event in events if event.old_status != event.new_status]
    assert path[-1] == job.status
    assert sum(status in ("completed", "cancelled") for status in path) == 1, path
    for before, after in pairwise(path):
        assert (before == "running") == (after in ("completed", "failed")) or after == "cancelled"
    if job.status == "completed":
        assert job.stats["pagesProcessed"] == job.config["pages"]


def assert_only_the_dead_cost_retries(
    job: Job, events: list[Event], killed: set[str], restarts: Sequence[tuple[datetime, datetime]]
) -> None:
    """Assert that each counted retry is that of a killed worker.

    On a busy machine a restart of the service may take longer than a lease lasts.
    """
    expired = [event for event in events if event.action == "lease_expired"]
    assert job.retry_count == len(expired)
    for event in expired:
        worker = event.changes["error_message"]["to"].rpartition(" ")[2]
        is_in_restart = any(
            end - began > LEASE / 2 and began < event.at < end + LEASE for began, end in restarts
        )
        assert worker in killed or is_in_restart, (worker, event.at, job, restarts)
