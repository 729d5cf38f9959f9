"""Many workers at one queue: each job once, in order, and never more than the limits allow."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.extras
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.config import Settings
from app.database.tenant_scope import tenant_scope
from app.events.provenance import SYSTEM, Provenance
from app.factory import create_app
from app.queue import service
from app.queue.claims import ClaimedJob, ClaimFilter, ClaimRequest
from app.queue.order import AGING_SECONDS, MAX_SKIPPED_JOBS
from support.database import migrate, new_database
from support.service import own_work

CLAIMERS = 50
PROVENANCE = Provenance(SYSTEM, None)

FILL = """
INSERT INTO scrape_jobs (id, domain_id, domain, job_type, priority, max_retries, max_concurrent, scheduled_for,
    created_at, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), r.domain, r.job_type, r.priority, 3, r.max_concurrent,
    now() + r.due_in * interval '1 second', now() - r.age * interval '1 second', now()
FROM jsonb_to_recordset(%s::jsonb) AS r
    (domain text, job_type text, priority int, max_concurrent int, due_in float8, age float8)
RETURNING id
"""


@dataclass
class Queue:
    """A queue whose jobs are one test's alone."""

    app: Flask
    connection: Any

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def fill(self, *jobs: dict[str, Any]) -> list[UUID]:
        """Make jobs of a domain, type, priority, limit, `due_in` and `age` in seconds, and return
        their ids."""
        usual = {"domain": "d.example", "job_type": "page", "priority": 5, "age": 60}
        values = psycopg2.extras.Json([{**usual, **job} for job in jobs])
        return [job_id for (job_id,) in self.rows(FILL, [values])]

    def claim(
        self, limit: int = 1, *, spread: bool = False, customer: UUID | None = None, **wanted: Any
    ) -> Sequence[ClaimedJob]:
        with self.app.app_context(), tenant_scope(customer):
            request = ClaimRequest("w", ClaimFilter(**wanted), limit)
            return service.claim(request, PROVENANCE, is_distributed=spread)

    def upcoming(
        self, limit: int = 1, *, customer: UUID | None = None, **wanted: Any
    ) -> list[UUID]:
        with self.app.app_context(), tenant_scope(customer):
            return [job.id for job in service.upcoming(ClaimFilter(**wanted), limit)]


@pytest.fixture(scope="module")
def filled_queue(server_url: str) -> Iterator[Queue]:
    for url in new_database(server_url):
        migrate(url)
        app = create_app(Settings(auth="off", rate_limit=False, database_url=url, threads=CLAIMERS))
        connection = psycopg2.connect(url)
        connection.autocommit = True
        psycopg2.extras.register_uuid(conn_or_curs=connection)  # type: ignore[no-untyped-call]
        yield Queue(app, connection)
        connection.close()
        with own_work(app):
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def queue(filled_queue: Queue) -> Queue:
    filled_queue.rows("TRUNCATE scrape_jobs, job_events, outbox, uncounted_events")
    return filled_queue


def at_once(*calls: Any) -> None:
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def test_fifty_claimers_get_each_of_ten_thousand_jobs_once_and_in_order(queue: Queue) -> None:
    queue.fill(*({"priority": 1 + n % 10, "age": 20_000 - n} for n in range(10_000)))
    queue.rows("ANALYZE scrape_jobs")
    taken: list[list[tuple[int, UUID]]] = []
    priorities = dict(queue.rows("SELECT id, priority FROM scrape_jobs"))
    limit = 20

    def work() -> None:
        while jobs := queue.claim(limit):
            taken.append([(priorities[job.id], job.id) for job in jobs])  # appending is atomic

    at_once(*[work] * CLAIMERS)
    counts = Counter(job_id for batch in taken for _, job_id in batch)
    assert len(counts) == 10_000
    assert set(counts.values()) == {1}
    for batch in taken:
        assert [priority for priority, _ in batch] == sorted(
            (priority for priority, _ in batch), reverse=True
        )
    # By when each was taken: nobody may have passed more jobs of a higher priority than others had
    # in their hands.
    order = [
        row[0]
        for row in queue.rows("SELECT priority FROM scrape_jobs ORDER BY started_at, -priority")
    ]
    higher_left = Counter(order)
    for priority in order:
        higher_left[priority] -= 1
        assert sum(n for p, n in higher_left.items() if p > priority) <= CLAIMERS * limit
    assert queue.rows("SELECT count(*) FROM job_events WHERE action = 'claimed'") == [(10_000,)]
    assert queue.rows("SELECT count(DISTINCT lease_token) FROM scrape_jobs") == [(10_000,)]


@pytest.mark.parametrize("spread", [False, True])
def test_no_limit_is_exceeded_by_many_claimers(queue: Queue, spread: bool) -> None:
    queue.fill(*({"domain": f"d{n % 3}.example", "age": 9000 - n} for n in range(300)))
    queue.fill(
        *({"domain": "polite.example", "max_concurrent": 1, "age": 9000 - n} for n in range(60))
    )
    done, most = threading.Event(), Counter[str]()

    def finish() -> None:
        """End what runs, after a look at how much does."""
        while not done.is_set():
            running = Counter(
                domain
                for (domain,) in queue.rows("SELECT domain FROM scrape_jobs WHERE status='running'")
            )
            for domain, number in running.items():
                most[domain] = max(most[domain], number)
            queue.rows(
                "UPDATE scrape_jobs SET status = 'completed', completed_at = now(), lease_expires_at = NULL"
                " WHERE status = 'running' AND random() < 0.5"
            )

    def work() -> None:
        chance = random.Random()
        for _ in range(12):
            queue.claim(chance.randint(1, 5), spread=spread, domain_limit=2)
            time.sleep(chance.uniform(0, 0.02))

    watcher = threading.Thread(target=finish)
    watcher.start()
    at_once(*[work] * 20)
    done.set()
    watcher.join()
    assert set(most) == {"d0.example", "d1.example", "d2.example", "polite.example"}
    assert max(most[f"d{n}.example"] for n in range(3)) <= 2
    assert most["polite.example"] == 1


@pytest.mark.parametrize("own_limit", [None, 2])
def test_a_flood_of_a_full_domain_hides_nobody(queue: Queue, own_limit: int | None) -> None:
    flood = {"domain": "flood.example", "priority": 9, "max_concurrent": own_limit}
    queue.fill(*({**flood, "age": 90_000 - n} for n in range(20 * MAX_SKIPPED_JOBS)))
    others = queue.fill(
        *({"domain": f"d{n}.example", "priority": 9, "age": 60 - n} for n in range(3))
    )
    limit = 2 if own_limit is None else None
    assert {job.id for job in queue.claim(2, domain_limit=limit)}.isdisjoint(others)
    assert queue.upcoming(5, domain_limit=limit) == others
    assert [job.id for job in queue.claim(5, domain_limit=limit)] == others
    assert not queue.claim(5, domain_limit=limit)


def test_a_rare_type_is_found_behind_a_flood_of_another(queue: Queue) -> None:
    queue.fill(*({"priority": 9, "age": 90_000 - n} for n in range(10 * MAX_SKIPPED_JOBS)))
    (rare,) = queue.fill({"job_type": "rare", "domain": "rare.example", "priority": 1})
    assert [job.id for job in queue.claim(5, job_types=["rare"])] == [rare]


def test_waiting_makes_up_for_priority_at_four_hours_a_step(queue: Queue) -> None:
    waited = 9 * AGING_SECONDS
    high, old, less_old = queue.fill(
        {"priority": 10, "age": 0},
        {"priority": 1, "age": waited + 60},
        {"priority": 1, "age": waited - 60},
    )
    assert queue.upcoming(3) == [old, high, less_old]


def test_only_time_since_a_job_was_there_and_due_counts_as_waiting(queue: Queue) -> None:
    backdated, late, older = queue.fill(
        {"age": 10, "due_in": -1e6}, {"age": 1e6, "due_in": -5}, {"age": 20}
    )
    assert queue.upcoming(3) == [older, backdated, late]


def test_the_second_form_takes_the_same_jobs_in_the_same_way(queue: Queue) -> None:
    jobs = [
        {"priority": 1 + n % 4, "domain": f"d{n % 5}.example", "age": 500 - n} for n in range(40)
    ]
    ids = queue.fill(*jobs)
    expected = queue.upcoming(7, domain_limit=3)
    taken = queue.claim(7, spread=True, domain_limit=3)
    assert [job.id for job in taken] == expected
    assert set(expected) < set(ids)
    held = queue.rows(
        "SELECT id, lease_token FROM scrape_jobs WHERE status = 'running' AND lease_seconds = 60"
    )
    assert sorted(held) == sorted((job.id, job.token) for job in taken)
    assert queue.rows("SELECT count(*) FROM outbox") == [(7,)]


def test_the_second_form_gives_each_job_once(queue: Queue) -> None:
    queue.fill(*({"age": 900 - n} for n in range(200)))
    taken: list[UUID] = []

    def work() -> None:
        while jobs := queue.claim(5, spread=True):
            taken.extend(job.id for job in jobs)

    at_once(*[work] * 8)
    assert len(taken) == len(set(taken)) == 200


JOBS = st.lists(
    st.fixed_dictionaries(
        {
            "domain": st.sampled_from(["a.example", "b.example", "c.example"]),
            "job_type": st.sampled_from(["page", "feed"]),
            "priority": st.integers(1, 10),
            "max_concurrent": st.sampled_from([None, 1, 3]),
            "due_in": st.sampled_from([None, -30.0, 3600.0]),
            "age": st.integers(0, 200_000),
        }
    ),
    max_size=25,
)
WANTED = st.fixed_dictionaries(
    {
        "domains": st.sampled_from([None, ["a.example"], ["b.example", "c.example"]]),
        "job_types": st.sampled_from([None, ["feed"]]),
        "domain_limit": st.sampled_from([None, 1, 2]),
    }
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(JOBS, st.sets(st.integers(0, 24), max_size=4), WANTED)
def test_what_comes_next_is_what_the_rules_say(
    queue: Queue, jobs: list[dict[str, Any]], running: set[int], wanted: dict[str, Any]
) -> None:
    queue.rows("TRUNCATE scrape_jobs, job_events, outbox, uncounted_events")
    ids = queue.fill(*jobs) if jobs else []
    busy = [job_id for number, job_id in enumerate(ids) if number in running]
    queue.rows(
        "UPDATE scrape_jobs SET status = 'running', scheduled_for = NULL WHERE id = ANY(%s::uuid[])",
        [busy],
    )
    expected = straight(queue, **wanted)
    shown = queue.upcoming(30, **wanted)
    assert shown == [job_id for job_id in expected if job_id in shown]
    assert bool(shown) == bool(expected)
    assert [job.id for job in queue.claim(30, **wanted)] == expected


def straight(
    queue: Queue,
    domains: Sequence[str] | None,
    job_types: Sequence[str] | None,
    domain_limit: int | None,
) -> list[UUID]:
    """Return what comes next by the rules, one after another, each with those before it running."""
    rows = queue.rows(
        "SELECT id, status, domain, job_type, priority, max_concurrent,"
        " extract(epoch FROM greatest(scheduled_for, created_at))::float8, extract(epoch FROM now())::float8"
        " FROM scrape_jobs"
    )
    running = Counter(domain for _, status, domain, *_ in rows if status == "running")
    found = []
    for job_id, status, domain, job_type, _, own, due, now in sorted(
        rows, key=lambda row: (round(row[6] - row[4] * AGING_SECONDS, 3), row[0])
    ):
        limits = [limit for limit in (domain_limit, own) if limit is not None]
        if (
            status == "pending"
            and due <= now
            and (domains is None or domain in domains)
            and (job_types is None or job_type in job_types)
            and all(running[domain] < limit for limit in limits)
        ):
            found.append(job_id)
            running[domain] += 1
    return found
