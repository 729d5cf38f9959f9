"""Failover with two servers: the service finds the new primary and loses no acknowledged write."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from flask import Flask

from app.config import Settings
from app.factory import create_app
from support.database import migrate
from support.factories import make_job, new_domain
from support.replication import Pair
from support.service import Service, wait_until

SECONDS = 20
"""The maximum pause of writes: 5.5 s for running statements, 1 s for the host, and a reserve."""


@contextmanager
def migrated_pair() -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="sj-"))
    folder.chmod(0o755)
    with Pair(folder) as pair:
        migrate(pair.url)
        yield pair


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A pair whose standby the test may promote."""
    with migrated_pair() as pair:
        yield pair


@pytest.fixture(scope="module")
def lasting_pair() -> Iterator[Pair]:
    """A pair that the tests leave unchanged."""
    with migrated_pair() as pair:
        yield pair


@contextmanager
def service_on(url: str) -> Iterator[Flask]:
    """The application in this process."""
    app = create_app(Settings(database_url=url, auth="off", rate_limit=False))
    try:
        yield app
    finally:
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()


class Writers:
    """Clients that create jobs one after the other and record the acknowledged ones."""

    def __init__(self, service: Service, count: int) -> None:
        self._service = service
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(count)]
        self.acknowledged: list[str] = []
        self.last = [0.0] * count

    def _write(self, number: int) -> None:
        with requests.Session() as session:
            while not self._stopping.wait(0.01):
                answer = session.post(self._service.jobs, json={"domain": new_domain()}, timeout=30)
                if answer.status_code == 201:
                    self.acknowledged.append(answer.json()["data"]["id"])
                    self.last[number] = time.monotonic()

    def all_write_after(self, moment: float) -> bool:
        return min(self.last) > moment

    @contextmanager
    def writing(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join()


def test_writes_move_from_a_frozen_primary(pair: Pair) -> None:
    with Service(pair.url, WEB_CONCURRENCY="2", THREADS="4") as service:
        writers = Writers(service, 6)
        with writers.writing():
            wait_until(lambda: writers.all_write_after(0), 30)
            with pair.primary.frozen():
                time.sleep(1)
                pair.standby.promote()
                promoted = time.monotonic()
                wait_until(lambda: writers.all_write_after(promoted), SECONDS)
            resumed = time.monotonic()  # the old primary still accepts connections as a primary
            wait_until(lambda: writers.all_write_after(resumed + 1), SECONDS)
        stored = {str(row[0]) for row in pair.standby.sql("SELECT id FROM scrape_jobs")}
    assert len(writers.acknowledged) > 20
    assert set(writers.acknowledged) <= stored


def test_standby_alone_gets_no_writes(lasting_pair: Pair) -> None:
    with service_on(lasting_pair.url) as app:
        client = app.test_client()
        url = f"/api/scrape-jobs/{make_job(client)['id']}"
        with lasting_pair.primary.frozen():
            assert [client.put(url, json={"stats": {"a": 1}}).status_code for _ in range(2)] == [
                500,
                500,
            ]
            assert client.get("/readyz").status_code == 503
        wait_until(lambda: client.put(url, json={"stats": {"a": 1}}).status_code == 200)


@pytest.mark.timed
def test_one_timeout_retires_all_connections(pair: Pair) -> None:
    with service_on(pair.url) as app:
        client = app.test_client()
        url = f"/api/scrape-jobs/{make_job(client)['id']}"
        with app.app_context(), ExitStack() as stack:
            engine = app.extensions["sqlalchemy"].engine
            for _ in range(5):  # so that the pool has as many
                stack.enter_context(engine.connect())
        with pair.primary.frozen():
            pair.standby.promote()
            started = time.monotonic()
            statuses = [client.get(url).status_code for _ in range(9)]
            seconds = time.monotonic() - started
    assert statuses == [500] + [200] * 8
    assert seconds < 18, "five statements waited for their timeouts"


def test_readyz_reports_a_standby(lasting_pair: Pair) -> None:
    expected = "The database is in recovery: it is a standby and takes no writes"
    with service_on(lasting_pair.standby.url) as app:
        answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()["details"]) == (503, expected)


def test_readyz_reports_that_no_server_accepts_writes(lasting_pair: Pair) -> None:
    twice = lasting_pair.standby.url.replace("127.0.0.1:", "localhost:1,127.0.0.1:")
    with service_on(twice) as app:
        answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()["details"]) == (503, "Database is read-only")
