"""Load of the exactness test: workers that change jobs while counters are killed."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import psycopg2
from flask import Flask
from psycopg2.extras import RealDictCursor

from app.events.provenance import ANONYMOUS, Provenance
from app.jobs import schemas
from app.jobs import service as jobs
from app.jobs.change_request import Preconditions
from support.service import ROOT, environment, own_work

JOBS = 4000

TRANSITIONS = 20_000

THREADS = 3

HASTE = 30_000
"""Factor by which the clock of the database is accelerated, so that seconds become days."""

BEGINNING = datetime(2024, 2, 27, 21, 47, tzinfo=UTC)

CUSTOMERS = (None, UUID(int=1), UUID(int=2))

ERRORS = (
    "Timeout after {} s",
    "Status {}",
    "No such element",
    "Connection reset at byte {}",
    "Blocked by {} rules",
)

PROVENANCE = Provenance(ANONYMOUS, "exact")

NEXT = {
    "pending": (("running", 0.93), ("cancelled", 0.07)),
    "running": (("completed", 0.25), ("failed", 0.7), ("cancelled", 0.05)),
    "failed": (("pending", 0.9), ("cancelled", 0.1)),
}

CLOCK = f"""
CREATE SCHEMA clock;
CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS
    'SELECT timestamptz ''{BEGINNING.isoformat()}'' + (pg_catalog.now() - timestamptz ''%(now)s'') * {HASTE}';
ALTER DATABASE %(database)s SET search_path = clock, pg_catalog, public;
"""


@dataclass
class World:
    """The application on a database whose clock is accelerated."""

    url: str
    app: Flask
    counted_plainly: dict[str, dict[str | None, dict[str, Any]]] = field(default_factory=dict)
    """The results of plain counts, by query."""

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        with (
            psycopg2.connect(self.url) as connection,
            connection.cursor(cursor_factory=RealDictCursor) as cursor,
        ):
            cursor.execute(sql, parameters)
            found = [dict(row) for row in cursor.fetchall()] if cursor.description else []
        connection.close()
        return found

    def value(self, sql: str) -> Any:
        (row,) = self.rows(sql)
        return next(iter(row.values()))

    def statistics(self, **query: Any) -> dict[str, Any]:
        answer = self.app.test_client().get("/api/scrape-jobs/stats", query_string=query)
        assert answer.status_code == 200, answer.text
        figures: dict[str, Any] = answer.get_json()["data"]
        return figures

    def uncounted(self) -> int:
        return int(self.value("SELECT count(*) FROM uncounted_events"))


class Workers:
    """Threads that change the status of jobs at random, each for its own jobs."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.done = 0
        self._app = world.app
        ids = [
            job
            for start in range(0, JOBS, 500)
            for job in self._create(range(start, start + 500), chance)
        ]
        shares = [ids[number::THREADS] for number in range(THREADS)]
        self._targets = [
            self._worker(
                share,
                random.Random(chance.random()),
                TRANSITIONS // THREADS + (number < TRANSITIONS % THREADS),
            )
            for number, share in enumerate(shares)
        ]

    def _create(self, numbers: Sequence[int], chance: random.Random) -> list[UUID]:
        bodies = [
            {
                "domain": f"d{chance.randrange(5)}.example",
                "job_type": f"type{chance.randrange(3)}",
                "customer_config_id": None
                if (customer := chance.choice(CUSTOMERS)) is None
                else str(customer),
                "max_retries": 100,
            }
            for _ in numbers
        ]
        with own_work(self._app):
            return [
                job.id
                for job in jobs.create([schemas.CREATE.parse(body) for body in bodies], PROVENANCE)
            ]

    def _worker(self, ids: list[UUID], chance: random.Random, steps: int) -> Callable[[], None]:
        def work() -> None:
            alive = [(job_id, "pending") for job_id in ids]
            with own_work(self._app):
                for _ in range(steps):
                    place = chance.randrange(len(alive))
                    job_id, status = alive[place]
                    if chance.random() < 0.03:  # without a change of status
                        jobs.update(
                            job_id,
                            {"metadata": {"note": 1}, "status": status},
                            Preconditions(),
                            PROVENANCE,
                        )
                    status = next_status(status, chance)
                    jobs.update(
                        job_id,
                        {"status": status, **report(status, chance)},
                        Preconditions(),
                        PROVENANCE,
                    )
                    self.done += 1
                    alive[place] = (job_id, status)
                    if status not in NEXT:
                        alive[place] = alive[-1]
                        alive.pop()

        return work

    def run(self) -> None:
        """Run all threads to their end."""
        run_all(self._targets)


def run_all(targets: Sequence[Callable[[], None]]) -> None:
    """Run every target in a thread, and raise the first failure."""
    failures: list[BaseException] = []

    def guarded(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread of the test
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure


def next_status(status: str, chance: random.Random) -> str:
    names, weights = zip(*NEXT[status], strict=True)
    return str(chance.choices(names, weights)[0])


def report(status: str, chance: random.Random) -> dict[str, Any]:
    """Return the fields of the update that sets the status."""
    if status == "running":
        return {"started_at": BEGINNING + timedelta(milliseconds=chance.randrange(10**8))}
    if status == "pending":
        return {}
    fields: dict[str, Any] = {
        "completed_at": BEGINNING + timedelta(milliseconds=chance.randrange(2 * 10**8))
    }
    if chance.random() < 0.8:
        fields["stats"] = {
            "pagesProcessed": chance.randrange(500),
            "performance": {
                "memoryUsage": f"{chance.randrange(50, 900)}MB",
                "cpuUsage": round(chance.uniform(0, 100), 3),
                "networkLatency": chance.randrange(2000),
            },
        }
    if status == "failed":
        fields["error_message"] = chance.choice(ERRORS).format(chance.randrange(1000))
    return fields


class Until:
    """A thread that repeats a call until the block ends, or `enough` times.

    A failure of the call fails the block.
    """

    def __init__(
        self, pause: Callable[[], float], again: Callable[[], object], enough: int
    ) -> None:
        self.times = 0
        self._enough = enough
        self._pause = pause
        self._again = again
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while self.times < self._enough and not self._over.wait(self._pause()):
                self._again()
                self.times += 1
        except BaseException as error:  # noqa: BLE001 - raised again in the thread of the test
            self._failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure


BACKENDS = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'scrape-jobs'
"""


class Killed:
    """Processes of `flask statistics count`, each killed soon after it connected."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.amid = 0
        self._world = world
        self._chance = chance

    def once(self) -> None:
        with (
            closing(psycopg2.connect(self._world.url)) as connection,
            connection.cursor() as cursor,
        ):
            connection.autocommit = True
            cursor.execute(BACKENDS)
            known = {pid for (pid,) in cursor.fetchall()}
            command = [sys.executable, "-m", "flask", "--app", "wsgi", "statistics", "count"]
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(DATABASE_URL=self._world.url),
                stdout=subprocess.DEVNULL,
            )
            try:
                while process.poll() is None:
                    cursor.execute(BACKENDS)
                    if {pid for (pid,) in cursor.fetchall()} - known:
                        time.sleep(self._chance.uniform(0, 0.06))
                        break
                    time.sleep(0.004)
                self.amid += process.poll() is None
            finally:
                process.kill()
                process.wait()
