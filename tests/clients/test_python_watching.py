"""`watch` and `wait` of the Python client with real event streams, outages and refusals."""

import threading
import time
from uuid import uuid4

import pytest
from scrape_jobs import (
    ConnectionFailed,
    DeadlineExceeded,
    Job,
    NotFound,
    RetryPolicy,
    ScrapeJobs,
    StatusChange,
)

from support.cutting_proxy import CuttingProxy
from support.service import Service, free_port, wait_until

QUICK = RetryPolicy(attempts=2, base_seconds=0.01, max_seconds=0.05)


class Watch:
    """A job that is watched in a thread."""

    def __init__(self, api: ScrapeJobs, job: Job) -> None:
        self.seen: list[tuple[str, int | None]] = []
        self._changes = api.watch(job.id)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for job in self._changes:
            self.seen.append((job.status, job.stats.get("pagesProcessed")))

    def wait_for(self, status: str, pages: int | None = None) -> None:
        wait_until(lambda: (status, pages) in self.seen)

    def end(self) -> list[tuple[str, int | None]]:
        """Wait for the end, and return what was seen."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.seen


def report(api: ScrapeJobs, job: Job, pages: int) -> None:
    api.update(job.id, status="running", stats={"pagesProcessed": pages})


def cuts_nothing(_request: bytes) -> bool:
    return False


def test_watch_yields_each_change_once(service: Service, api: ScrapeJobs, kind: str) -> None:
    job = api.create("example.com", job_type=kind)
    with CuttingProxy(service.port, cuts_nothing) as proxy:
        watch = Watch(ScrapeJobs(proxy.url), job)
        wait_until(lambda: proxy.streams)
        (claimed,) = api.claim("tester", job_types=[kind])
        watch.wait_for("running")
        report(api, job, 1)
        watch.wait_for("running", 1)
        proxy.cut_streams()
        report(api, job, 2)  # while no stream is open
        watch.wait_for("running", 2)
        wait_until(lambda: proxy.streams)
        assert claimed.lease_token is not None
        api.heartbeat(job.id, claimed.lease_token)  # changes the lease alone
        proxy.cut_streams()
        wait_until(lambda: proxy.streams)
        api.update(job.id, status="failed", error_message="broken")
        assert watch.end() == [
            ("pending", None), ("running", None), ("running", 1), ("running", 2), ("failed", 2),
        ]  # fmt: skip
    with pytest.raises(NotFound):
        next(api.watch(str(uuid4())))


def test_watch_and_wait_survive_a_restart(database_url: str) -> None:
    with Service(database_url, WEB_CONCURRENCY="1", SCRAPE_JOBS_STREAMS="1") as service:
        api = ScrapeJobs(service.url, retry=QUICK)
        streamed, polled, awaited = (api.create("example.com") for _ in range(3))
        with CuttingProxy(service.port, cuts_nothing) as proxy:
            first = Watch(ScrapeJobs(proxy.url, retry=QUICK), streamed)
            wait_until(lambda: proxy.streams)
            second = Watch(ScrapeJobs(proxy.url, retry=QUICK), polled)  # no stream is free
            ended: list[Job] = []
            waiting = threading.Thread(target=lambda: ended.append(api.wait(awaited.id)))
            waiting.start()
            for job, watch in ((streamed, first), (polled, second)):
                report(api, job, 1)
                watch.wait_for("running", 1)
            assert proxy.streams == 1
            assert service.process is not None
            service.process.terminate()
            service.process.wait(60)
            time.sleep(1)  # the clients find no service
            # Without streams, all of them poll.
            settings = {"WEB_CONCURRENCY": "1", "SCRAPE_JOBS_STREAMS": "0"}
            with Service(database_url, PORT=str(service.port), **settings):
                for job, watch in ((streamed, first), (polled, second)):
                    report(api, job, 2)
                    watch.wait_for("running", 2)
                    api.update(job.id, status="completed")
                    assert watch.end() == [
                        ("pending", None), ("running", 1), ("running", 2), ("completed", 2),
                    ]  # fmt: skip
                assert proxy.streams == 0
                api.cancel(awaited.id)
                waiting.join(30)
                assert [job.status for job in ended] == ["cancelled"]


def test_an_absent_service_is_reported() -> None:
    api = ScrapeJobs(f"http://127.0.0.1:{free_port()}", retry=QUICK)
    with pytest.raises(ConnectionFailed, match="Connection refused"):
        next(api.watch(str(uuid4())))
    with pytest.raises(ConnectionFailed, match="Connection refused"):
        next(api.status_changes())
    with pytest.raises(DeadlineExceeded, match=r"could not be read after 0\.3 s"):
        api.wait(str(uuid4()), deadline=0.3)


def test_status_changes_resume_after_a_break(service: Service, api: ScrapeJobs, kind: str) -> None:
    notes: list[str] = []
    changes: list[StatusChange] = []

    def read(client: ScrapeJobs) -> None:
        changes.extend(client.status_changes(notify=notes.append, job_type=kind))

    before = api.create("example.com", job_type=kind)
    with CuttingProxy(service.port, cuts_nothing) as proxy:
        threading.Thread(target=read, args=(ScrapeJobs(proxy.url),), daemon=True).start()
        wait_until(lambda: notes)
        job = api.create("example.com", job_type=kind)
        api.update(job.id, status="running")
        wait_until(lambda: len(changes) == 1)
        proxy.cut_streams()
        api.update(job.id, status="failed")  # while no stream is open
        api.retry(job.id)
        api.update(before.id, stats={"pagesProcessed": 1})  # changes no status
        api.update(job.id, status="running")
        wait_until(lambda: len(changes) == 4)
        api.update(before.id, status="running")
        wait_until(lambda: len(changes) == 5)
    assert [(one.job.id, one.old_status, one.new_status) for one in changes] == [
        (job.id, "pending", "running"),
        (job.id, "running", "failed"),
        (job.id, "failed", "pending"),
        (job.id, "pending", "running"),
        (before.id, "pending", "running"),
    ]
    history = {event.id: event.document["at"] for event in api.history(job.id)}
    assert [history[one.number] for one in changes[:4]] == [one.at for one in changes[:4]]
    assert notes[0] == "Listening: the stream is open"
    assert notes[1].startswith("The stream is interrupted and will be opened again: ")
