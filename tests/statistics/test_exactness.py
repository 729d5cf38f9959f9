"""The statistics compared with a plain count of the events, under load and kills."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import psycopg2
import pytest

from app.config import Settings
from app.factory import create_app
from app.statistics import counting, service
from app.statistics.figures_sql import GROUPS
from support.database import migrate, new_database
from support.service import own_work, wait_until
from support.statistics_load import (
    CLOCK,
    CUSTOMERS,
    JOBS,
    THREADS,
    TRANSITIONS,
    Killed,
    Until,
    Workers,
    World,
)

SEED = 20240301

WINDOWS = 8

# Every status change in the history. The last one of a job is its current status.
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


def plain_count(
    world: World, times: Sequence[str | None], group: str | None, **filters: Any
) -> dict[str | None, dict[str, Any]]:
    """Return the figures of a plain count by group; the key None is for all jobs."""
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
    """Assert that figures of the service equal those of the plain count."""
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
    """Assert that the answer and each of its groups equal the plain count."""
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
    """Return all time, and random windows with edges inside minutes."""
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


def test_figures_are_exact_while_counters_are_killed(
    world: World,
) -> None:
    chance = random.Random(SEED)
    workers = Workers(world, chance)
    killed = Killed(world, random.Random(chance.random()))
    groups = (None, *GROUPS)
    totals: set[int] = set()

    def look() -> None:
        group = chance.choice(groups)
        found = world.statistics(**({"group_by": group} if group else {}))
        totals.add(found["total"])
        assert group is None or sum(each["total"] for each in found["groups"]) == found["total"]

    def count() -> None:
        with own_work(world.app):
            counting.count(random.randrange(1, 300))

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
        counting.count(max(world.uncounted() - 200, 0))
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
