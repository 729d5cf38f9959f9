"""The Python worker against the real service."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from scrape_jobs import (
    NO_RETRY,
    Job,
    LeasedJob,
    LeaseLost,
    NotAuthenticated,
    RetryPolicy,
    ScrapeJobs,
    Worker,
)

from support.cutting_proxy import CuttingProxy
from support.service import ROOT, Service, wait_until
from support.worker_handlers import crawl


@pytest.fixture
def job_type() -> str:
    """A type of jobs that no other test uses."""
    return f"type-{uuid4().hex[:12]}"


@contextmanager
def running(worker: Worker, handler: Callable[..., Any] = crawl) -> Iterator[Worker]:
    """Run a worker in a thread, and stop it at the end."""
    worker.handler(handler)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(30)
        assert not thread.is_alive()


def make_worker(api: ScrapeJobs, job_type: str, **options: Any) -> Worker:
    return api.worker(job_types=[job_type], **{"lease": 10, "poll": 1, "grace": 5, **options})


def actions(api: ScrapeJobs, job: Job) -> list[str]:
    return [event.action for event in api.history(job.id)]


def test_each_outcome_is_reported(api: ScrapeJobs, job_type: str) -> None:
    acts = ("finish", "raise", "retry", "fatal", "large")
    jobs = {act: api.create("example.com", job_type=job_type, config={"act": act}) for act in acts}
    with running(make_worker(api, job_type, concurrency=2)):
        ended = {act: api.wait(job.id, deadline=60) for act, job in jobs.items()}
        wait_until(lambda: len(actions(api, jobs["retry"])) == 6, 10)
    done = ended["finish"]
    assert done.status == "completed"
    assert done.stats == {
        "pagesProcessed": 3, "totalPages": 3, "dataExtracted": {"products": 156},
    }  # fmt: skip
    assert ended["raise"].status == "failed"
    assert ended["raise"].error_message == "ValueError: broken page"
    assert ended["raise"].allowed_transitions == ("pending", "cancelled")
    assert actions(api, jobs["retry"]) == [
        "created", "claimed", "given_up", "retried", "claimed", "updated",
    ]  # fmt: skip
    assert api.get(jobs["retry"].id, required=True).status == "completed"
    assert (ended["fatal"].error_message, ended["fatal"].retry_count) == ("no such site", 3)
    assert ended["fatal"].allowed_transitions == ("cancelled",)
    assert (ended["large"].status, ended["large"].stats) == ("failed", {})
    assert str(ended["large"].error_message).startswith("The result is refused: ")


def test_no_more_jobs_run_than_allowed(api: ScrapeJobs, job_type: str) -> None:
    jobs = api.create_many([{"domain": "example.com", "job_type": job_type}] * 7)
    counts: list[int] = []
    lock, now_running = threading.Lock(), 0

    def handler(_: LeasedJob) -> None:
        nonlocal now_running
        with lock:
            now_running += 1
            counts.append(now_running)
        time.sleep(0.2)
        with lock:
            now_running -= 1

    with running(make_worker(api, job_type, concurrency=3), handler):
        for job in jobs:
            assert api.wait(job.id, deadline=60).status == "completed"
    assert max(counts) == 3


def test_a_cancel_ends_the_handler(api: ScrapeJobs, job_type: str) -> None:
    job = api.create("example.com", job_type=job_type, config={"pages": 500, "seconds": 0.05})
    with running(make_worker(api, job_type, lease=6)):
        wait_until(lambda: api.get(job.id, required=True).status == "running", 10)
        api.cancel(job.id, "enough")
        wait_until(lambda: "cancel_heard" in actions(api, job), 10)
    ended = api.get(job.id, required=True)
    assert ended.status == "cancelled"
    assert 0 < ended.stats["pagesProcessed"] < 500


def test_heartbeats_keep_the_lease(api: ScrapeJobs, job_type: str) -> None:
    job = api.create("example.com", job_type=job_type, config={"pages": 1, "seconds": 7})
    with running(make_worker(api, job_type, lease=5)):
        assert api.wait(job.id, deadline=60).status == "completed"
    assert actions(api, job) == ["created", "claimed", "updated", "updated"]


def test_progress_is_sent_at_most_every_two_seconds(api: ScrapeJobs, job_type: str) -> None:
    job = api.create("example.com", job_type=job_type, config={"pages": 250, "seconds": 0.02})
    with running(make_worker(api, job_type)):
        ended = api.wait(job.id, deadline=60)
    assert ended.stats["pagesProcessed"] == 250
    reports = actions(api, job).count("updated")
    assert 2 <= reports <= 5  # about five seconds, and the final report


def test_unfinished_jobs_are_given_back(api: ScrapeJobs, job_type: str) -> None:
    jobs = api.create_many(
        [{"domain": "example.com", "job_type": job_type, "config": {"pages": 999, "seconds": 0.1}}]
        * 2
    )
    with running(make_worker(api, job_type, concurrency=2, grace=0.3)):
        wait_until(
            lambda: all(api.get(job.id, required=True).status == "running" for job in jobs), 10
        )
    for job in jobs:
        ended = api.get(job.id, required=True)
        assert (ended.status, ended.retry_count) == ("pending", 0)
        assert "released" in actions(api, job)


def start_process(service: Service, job_type: str, options: str) -> "subprocess.Popen[str]":
    """Start a worker in a process of its own."""
    program = (
        "from scrape_jobs import ScrapeJobs\nfrom support.worker_handlers import crawl\n"
        "if __name__ == '__main__':\n"
        f"    worker = ScrapeJobs({service.url!r}).worker(job_types=[{job_type!r}], {options})\n"
        "    worker.handler(crawl)\n    worker.run()\n    print('ended in order')\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients/python/src")},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(
    service: Service, api: ScrapeJobs, job_type: str, number: int
) -> None:
    job = api.create("example.com", job_type=job_type, config={"pages": 40, "seconds": 0.1})
    process = start_process(service, job_type, "lease=10, poll=1")
    # A job that is running may still be on its way to the worker, which would give it back.
    wait_until(lambda: api.get(job.id, required=True).stats)
    process.send_signal(number)
    output, _ = process.communicate(timeout=90)
    assert (process.returncode, output) == (0, "ended in order\n")
    assert api.get(job.id, required=True).status == "completed"


def test_a_crashed_process_fails_its_job(api: ScrapeJobs, job_type: str) -> None:
    crashed = api.create("example.com", job_type=job_type, config={"act": "crash"}, priority=9)
    other = api.create("example.com", job_type=job_type, config={"pages": 2})
    with running(make_worker(api, job_type, isolate="process")):
        assert api.wait(other.id, deadline=60).status == "completed"
        ended = api.wait(crashed.id, deadline=60)
    assert ended.error_message == "The process of the handler was ended by SIGKILL"


def test_a_hanging_process_is_ended_by_a_cancel(
    api: ScrapeJobs, job_type: str, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    config = {"act": "hang", "mark": str(mark)}
    job = api.create("example.com", job_type=job_type, config=config)
    with running(make_worker(api, job_type, isolate="process", lease=5)):
        wait_until(mark.exists, 20)
        time.sleep(0.2)
        pid = int(mark.read_text())
        api.cancel(job.id)
        wait_until(lambda: not psutil.pid_exists(pid), 15)
    assert "cancel_heard" in actions(api, job)


def test_a_hanging_process_ends_after_the_grace_time(
    service: Service, api: ScrapeJobs, job_type: str, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    job = api.create("example.com", job_type=job_type, config={"act": "hang", "mark": str(mark)})
    process = start_process(service, job_type, "isolate='process', grace=0.5")
    wait_until(mark.exists)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=90)
    assert (process.returncode, output) == (0, "ended in order\n")
    assert not psutil.pid_exists(int(mark.read_text()))
    ended = api.get(job.id, required=True)
    assert (ended.status, ended.retry_count) == ("pending", 0)
    assert actions(api, job)[-2:] == ["released", "released"]


def test_a_process_ends_with_its_worker(
    service: Service, api: ScrapeJobs, job_type: str, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    api.create("example.com", job_type=job_type, config={"act": "hang", "mark": str(mark)})
    process = start_process(service, job_type, "isolate='process'")
    wait_until(mark.exists)
    wait_until(mark.read_text)
    process.kill()
    process.communicate()
    wait_until(lambda: not psutil.pid_exists(int(mark.read_text())))


def test_a_short_outage_loses_no_result(service: Service, job_type: str) -> None:
    with CuttingProxy(service.port, lambda _: False) as proxy:
        api = ScrapeJobs(proxy.url)
        job = api.create("example.com", job_type=job_type, config={"pages": 3, "seconds": 0.1})

        def handler(leased: LeasedJob) -> Any:
            proxy.is_open = False
            timer.start()
            return crawl(leased)

        timer = threading.Timer(3, setattr, (proxy, "is_open", True))
        with running(make_worker(api, job_type, lease=20), handler):
            wait_until(lambda: proxy.is_open and timer.finished.is_set())
            assert api.wait(job.id, deadline=60).status == "completed"
        assert actions(api, job) == ["created", "claimed", "updated"]


def test_a_long_outage_ends_the_handler(service: Service, job_type: str) -> None:
    direct = ScrapeJobs(service.url)
    job = direct.create("example.com", job_type=job_type)
    held: list[float] = []

    def handler(leased: LeasedJob) -> None:
        proxy.is_open = False
        started = time.monotonic()
        try:
            while True:
                leased.progress(pagesProcessed=1)
                time.sleep(0.05)
        except LeaseLost:
            held.append(time.monotonic() - started)
            raise

    with (
        CuttingProxy(service.port, lambda _: False) as proxy,
        running(make_worker(ScrapeJobs(proxy.url, retry=NO_RETRY), job_type, lease=5), handler),
    ):
        wait_until(lambda: held)
        wait_until(lambda: "lease_expired" in actions(direct, job))
        direct.cancel(job.id)
        proxy.is_open = True
    assert held[0] <= 5  # it stopped before another worker could begin
    assert "no sign of life" in expiry_message(direct, job)


def expiry_message(api: ScrapeJobs, job: Job) -> str:
    """Return the error message with which the lease of the job expired."""
    (event,) = (event for event in api.history(job.id) if event.action == "lease_expired")
    return str(event.changes["error_message"]["to"])


def test_a_lost_lease_ends_the_handler(service: Service, job_type: str) -> None:
    api = ScrapeJobs(service.url, retry=RetryPolicy(attempts=1))
    job = api.create("example.com", job_type=job_type, config={"pages": 999, "seconds": 0.05})
    seen: list[BaseException] = []

    def watched(leased: Any) -> Any:
        try:
            return crawl(leased)
        except BaseException as error:
            seen.append(error)
            raise

    with running(make_worker(api, job_type, lease=5), watched):
        wait_until(lambda: api.get(job.id, required=True).status == "running", 10)
        # An administrator ends the job: the token is worth nothing from now on.
        api.update(job.id, status="failed", error_message="ended by hand")
        wait_until(lambda: len(seen) == 1, 10)
    assert type(seen[0]).__name__ == "LeaseLost"
    assert api.get(job.id, required=True).error_message == "ended by hand"


def test_a_refused_worker_raises(job_type: str, database_url: str) -> None:
    with Service(database_url, SCRAPE_JOBS_AUTH="keys") as closed:
        worker = make_worker(ScrapeJobs(closed.url, key="sjk_wrong"), job_type)
        worker.handler(crawl)
        with pytest.raises(NotAuthenticated):
            worker.run()
