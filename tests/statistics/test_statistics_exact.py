"""The statistics against a plain count of the log: exact, whoever counts meanwhile, and whoever is
killed at it."""

import math
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import psycopg2
import pytest
from flask import Flask
from psycopg2.extras import RealDictCursor

from app.config import Settings
from app.events.provenance import ANONYMOUS, Provenance
from app.factory import create_app
from app.jobs import schemas
from app.jobs import service as jobs
from app.jobs.change_request import Preconditions
from app.statistics import queries, service
from support.database import migrate, new_database
from support.service import ROOT, environment, own_work, wait_until

SEED = 20240301
JOBS = 4000
TRANSITIONS = 20_000
THREADS = 3
WINDOWS = 8

HASTE = 30_000
"""How much faster than ours the database's clock runs: what is done in seconds fills days."""

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

# Every status change, as history tells of it. Of a job's changes the last is the one that stands.
STEPS = r"""
CREATE TABLE step AS
SELECT e.job_id, e.at, e.new_status AS status, j.domain, j.job_type, j.customer_config_id AS customer,
    to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24') || ':00:00.000Z' AS hour,
    to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD') || 'T00:00:00.000Z' AS day,
    row_number() OVER (PARTITION BY e.job_id ORDER BY e.seq DESC) = 1 AS stands,
    count(*) FILTER (WHERE e.old_status = 'failed' AND e.new_status = 'pending')
        OVER (PARTITION BY e.job_id ORDER BY e.seq) > 0 AS retried,
    CASE WHEN e.old_status = 'running' THEN
        greatest(0, extract(epoch FROM (e.changes #>> '{completed_at,to}')::timestamptz
            - (lag(e.changes) OVER (PARTITION BY e.job_id ORDER BY e.seq) #>> '{started_at,to}')::timestamptz)::float8)
        END AS took,
    CASE WHEN e.old_status = 'running' THEN (e.stats ->> 'pagesProcessed')::float8 END AS pages,
    CASE WHEN e.old_status = 'running'
        THEN replace(e.stats #>> '{performance,memoryUsage}', 'MB', '')::float8 END AS memory,
    CASE WHEN e.old_status = 'running' THEN (e.stats #>> '{performance,cpuUsage}')::float8 END AS cpu,
    CASE WHEN e.old_status = 'running' THEN (e.stats #>> '{performance,networkLatency}')::float8 END AS latency,
    CASE WHEN e.new_status = 'failed'
        THEN regexp_replace(e.changes #>> '{error_message,to}', '[0-9]+', '<n>', 'g') END AS pattern
FROM job_events e JOIN scrape_jobs j ON j.id = e.job_id WHERE e.old_status IS DISTINCT FROM e.new_status
"""

FIGURES = """
SELECT {group} AS key, count(*) FILTER (WHERE stands) AS total, count(*) FILTER (WHERE stands AND retried) AS retried,
    json_build_object(
        'pending', count(*) FILTER (WHERE stands AND status = 'pending'),
        'running', count(*) FILTER (WHERE stands AND status = 'running'),
        'completed', count(*) FILTER (WHERE stands AND status = 'completed'),
        'failed', count(*) FILTER (WHERE stands AND status = 'failed'),
        'cancelled', count(*) FILTER (WHERE stands AND status = 'cancelled')) AS by_status,
    sum(pages) FILTER (WHERE took > 0) AS pages, sum(took) FILTER (WHERE pages IS NOT NULL) AS page_seconds,
    avg(took) FILTER (WHERE status = 'completed') AS mean,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY took) FILTER (WHERE status = 'completed') AS p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY took) FILTER (WHERE status = 'completed') AS p95,
    avg(memory) AS memory, max(memory) AS most_memory, avg(cpu) AS cpu, max(cpu) AS most_cpu,
    avg(latency) AS latency, max(latency) AS most_latency,
    array_remove(array_agg(pattern), NULL) AS errors
FROM step WHERE {conditions} GROUP BY GROUPING SETS ({sets})
"""


@dataclass
class World:
    """A database of the test's own, whose clock runs fast, with the application on it."""

    url: str
    app: Flask
    counted_plainly: dict[str, dict[str | None, dict[str, Any]]] = field(default_factory=dict)
    """What was found by a plain count, by what was asked."""

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


@pytest.fixture
def world(server_url: str) -> Iterator[World]:
    for url in new_database(server_url):
        migrate(url)
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_database(), now()")
            database, now = cursor.fetchone() or (None, None)
            cursor.execute(CLOCK % {"database": database, "now": now})
        connection.close()
        app = create_app(
            Settings(database_url=url, auth="off", rate_limit=False, threads=THREADS + 3)
        )
        yield World(url, app)
        with own_work(app):
            app.extensions["sqlalchemy"].engine.dispose()


# ------------------------------------------------------------------------------------------------- what happens


class Workers:
    """Threads that bring jobs from status to status at random, each the jobs of its own."""

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
                    if chance.random() < 0.03:  # which is no change of status
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
        """Do all of it."""
        run_all(self._targets)


def run_all(targets: Sequence[Callable[[], None]]) -> None:
    """Run every target in a thread of its own, and fail where one does."""
    failures: list[BaseException] = []

    def guarded(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 - it is told below, in the test's own thread
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
    """Return what a worker says when its job takes the status."""
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
    """A thread that does something again and again until the block ends, or enough; its failure
    fails the block."""

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
        except BaseException as error:  # noqa: BLE001 - it is told below, in the test's own thread
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
    """`flask statistics count`, again and again, each killed a moment after it has come to the
    database."""

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


# ------------------------------------------------------------------------------------------------- the plain count


def plain_count(
    world: World, times: Sequence[str | None], group: str | None, **filters: Any
) -> dict[str | None, dict[str, Any]]:
    """Return the figures as a plain count of all steps has them, by group; the key None is all
    together."""
    start, end = times
    conditions = ["true"] + [f"{name} = %({name})s" for name in filters]
    conditions += ["at >= %(start)s"] * (start is not None) + ["at < %(end)s"] * (end is not None)
    sql = FIGURES.format(
        group=group or "NULL",
        conditions=" AND ".join(conditions),
        sets=f"(), ({group})" if group else "()",
    )
    rows = world.rows(sql, {"start": start, "end": end, **filters})
    return {row["key"]: row for row in rows}


def ratio(part: float | None, whole: float | None) -> float | None:
    return (part or 0) / whole if whole else None


def is_near(found: float | None, expected: float | None, relative: float = 1e-6) -> bool:
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=relative, abs_tol=2e-6)


def assert_is(found: Mapping[str, Any], true: Mapping[str, Any]) -> None:
    """Fail where the service's figures are not the plain count's."""
    by_status = true["by_status"]
    ended = by_status["completed"] + by_status["failed"]
    assert (found["total"], found["by_status"]) == (true["total"], by_status)
    assert is_near(found["success_rate"], ratio(by_status["completed"], ended))
    assert is_near(found["failure_rate"], ratio(by_status["failed"], ended))
    assert is_near(found["retry_rate"], ratio(true["retried"], true["total"]))
    assert is_near(
        found["pages_per_minute"], ratio((true["pages"] or 0) * 60, true["page_seconds"])
    )
    assert is_near(found["completion_seconds"]["mean"], true["mean"])
    assert is_near(found["completion_seconds"]["p50"], true["p50"], 0.05)
    assert is_near(found["completion_seconds"]["p95"], true["p95"], 0.05)
    for name, column in (
        ("memory_mb", "memory"),
        ("cpu_percent", "cpu"),
        ("network_latency_ms", "latency"),
    ):
        assert is_near(found["resources"][name]["mean"], true[column])
        assert is_near(found["resources"][name]["peak"], true[f"most_{column}"])
    assert {error["pattern"]: error["count"] for error in found["errors"]} == Counter(
        true["errors"]
    )
    counts = [error["count"] for error in found["errors"]]
    assert counts == sorted(counts, reverse=True)


def assert_exact(
    world: World, start: datetime | None, end: datetime | None, group: str | None, **filters: str
) -> None:
    """Fail where the service's answer, or any group of it, is not the plain count."""
    times = [None if time is None else time.isoformat() for time in (start, end)]
    asked = {"from": times[0], "to": times[1], "group_by": group, **filters}
    found = world.statistics(**{name: value for name, value in asked.items() if value is not None})
    columns = {
        {"customer_config_id": "customer"}.get(name, name): value for name, value in filters.items()
    }
    question = repr(asked)
    if question not in world.counted_plainly:
        world.counted_plainly[question] = plain_count(world, times, group, **columns)
    true = dict(world.counted_plainly[question])
    assert_is(found, true.pop(None))
    assert {each["key"] for each in found["groups"]} == true.keys()
    for each in found["groups"]:
        assert_is(each, true[each["key"]])


def windows(
    world: World, chance: random.Random
) -> Iterator[tuple[datetime | None, datetime | None]]:
    """Return all time, and random windows whose edges lie inside minutes."""
    (row,) = world.rows("SELECT min(at) AS low, max(at) AS high FROM step")
    low, length = row["low"], (row["high"] - row["low"]) / timedelta(milliseconds=1)
    yield None, None
    for number in range(WINDOWS):
        one, two = sorted(
            low + timedelta(milliseconds=round(chance.uniform(0, length))) for _ in range(2)
        )
        one, two = (
            moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in (one, two)
        )
        yield None if number == 0 else one, None if number == 1 else two


FILTERS: Sequence[tuple[str | None, dict[str, str]]] = (
    (None, {}),
    ("hour", {}),
    ("domain", {}),
    ("day", {"domain": "d1.example"}),
    ("job_type", {"customer_config_id": str(CUSTOMERS[1])}),
    ("hour", {"job_type": "type2", "domain": "d0.example"}),
)


def assert_all_exact(world: World, chance: random.Random) -> None:
    for number, (start, end) in enumerate(windows(world, chance)):
        every = (
            FILTERS
            if start is end is None
            else (FILTERS[0], FILTERS[1 + number % (len(FILTERS) - 1)])
        )
        for group, filters in every:
            assert_exact(world, start, end, group, **filters)


# ------------------------------------------------------------------------------------------------- the test


def test_the_figures_are_a_plain_count_of_the_log_while_jobs_change_and_counters_are_killed(
    world: World,
) -> None:
    chance = random.Random(SEED)
    workers = Workers(world, chance)
    killed = Killed(world, random.Random(chance.random()))
    groups = (None, *queries.GROUPS)
    totals: set[int] = set()

    def look() -> None:
        group = chance.choice(groups)
        found = world.statistics(**({"group_by": group} if group else {}))
        totals.add(found["total"])
        assert group is None or sum(each["total"] for each in found["groups"]) == found["total"]

    def count() -> None:
        with own_work(world.app):
            queries.count(random.randrange(1, 300))

    with ExitStack() as stack:
        looks = stack.enter_context(Until(lambda: 0.2, look, 40))
        counts = stack.enter_context(Until(lambda: random.uniform(0, 0.3), count, 60))
        kills = stack.enter_context(Until(lambda: 0.4, killed.once, 6))
        workers.run()
    assert workers.done == TRANSITIONS
    assert (looks.times > 10, counts.times > 10, kills.times >= 3, killed.amid >= 2) == (True,) * 4
    assert totals == {JOBS}

    world.rows(STEPS)
    assert world.value("SELECT count(*) FROM step") == JOBS + TRANSITIONS
    with own_work(world.app):
        queries.count(max(world.uncounted() - 200, 0))
    assert world.uncounted() > 0
    assert_all_exact(world, random.Random(SEED))
    with own_work(world.app):
        wait_until(lambda: service.count() >= 0 and not world.uncounted())
        assert service.count() == 0
    assert_all_exact(world, random.Random(SEED))
    assert_errors_name_jobs_that_had_them(world)


def assert_errors_name_jobs_that_had_them(world: World) -> None:
    for error in world.statistics()["errors"]:
        named = {"job_id": error["job_id"], "pattern": error["pattern"]}
        assert world.rows(
            "SELECT 1 FROM step WHERE job_id = %(job_id)s AND pattern = %(pattern)s", named
        )
