"""The queue's order and limits against a straight reading of their rules, where lanes are cut off
and workers meet."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg2
import psycopg2.extras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import database
from app.config import Settings
from app.database import Statement
from app.factory import create_app
from app.queue import service
from app.queue.claims import ClaimFilter, ClaimRequest
from app.queue.order import MAX_SKIPPED_JOBS
from support.database import migrate, new_database
from support.service import own_work
from tests.queue.test_concurrency import PROVENANCE, Queue, at_once

CLAIMERS = 50
LIMIT = 20
FLOOD = 20_000

FILL = """
INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, priority, max_retries, max_concurrent,
    status, scheduled_for, created_at, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), r.customer, r.domain, r.job_type, r.priority, 3, r.max_concurrent,
    r.status, now() + r.due_in * interval '1 second',
    now() - (r.age * interval '1 second') - (n * interval '1 millisecond'), now()
FROM jsonb_to_recordset(%s::jsonb) AS r
    (customer uuid, domain text, job_type text, priority int, max_concurrent int, status text, due_in float8,
     age float8, jobs int), LATERAL generate_series(1, r.jobs) AS n
RETURNING id
"""

IN_ORDER = """
SELECT j.id, j.domain, j.max_concurrent FROM scrape_jobs j
WHERE j.status = 'pending' AND greatest(j.scheduled_for, j.created_at) <= now()
    AND (%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))
    AND (%(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[]))
    AND (%(customer)s::uuid IS NULL OR j.customer_config_id = %(customer)s::uuid)
ORDER BY greatest(j.scheduled_for, j.created_at) - j.priority * interval '4 hours', j.id
"""

MOMENT = Statement(
    "moment_and_rest",
    "SELECT clock_timestamp(), (SELECT count(*) FROM scrape_jobs j WHERE (j.status = 'pending') IS TRUE)",
)


@pytest.fixture(scope="module")
def own_queue(server_url: str) -> Iterator[Queue]:
    for url in new_database(server_url):
        migrate(url)
        app = create_app(Settings(database_url=url, auth="off", rate_limit=False, threads=CLAIMERS))
        connection = psycopg2.connect(url)
        connection.autocommit = True
        psycopg2.extras.register_uuid(conn_or_curs=connection)  # type: ignore[no-untyped-call]
        yield Queue(app, connection)
        connection.close()
        with own_work(app):
            app.extensions["sqlalchemy"].engine.dispose()


def clear(queue: Queue) -> None:
    queue.rows("TRUNCATE scrape_jobs, job_events, outbox, uncounted_events")


@pytest.fixture
def queue(own_queue: Queue) -> Queue:
    clear(own_queue)
    return own_queue


def fill(queue: Queue, *groups: dict[str, Any]) -> list[UUID]:
    """Make groups of `jobs` alike, the later ones a little older, and return their ids."""
    usual = {
        "domain": "d.example",
        "job_type": "page",
        "priority": 5,
        "age": 60,
        "jobs": 1,
        "status": "pending",
    }
    values = psycopg2.extras.Json([{**usual, **group} for group in groups])
    return [job_id for (job_id,) in queue.rows(FILL, [values])]


# ------------------------------------------------------------------------------------------------------ many claimers


class Claim(NamedTuple):
    """What a claim gave, when it was over, and how many jobs were still pending then."""

    ids: list[UUID]
    over_at: datetime
    left: int


def rush(queue: Queue, jobs: int) -> list[Claim]:
    """Let CLAIMERS take `jobs` jobs, LIMIT at a time, until none is left."""
    fill(queue, *({"priority": 1 + n % 10, "age": 2 * jobs - n} for n in range(jobs)))
    queue.rows("ANALYZE scrape_jobs")
    claims: list[Claim] = []
    lock = threading.Lock()
    missing = jobs

    def work() -> None:
        nonlocal missing
        with own_work(queue.app):
            while missing > 0:
                taken = [
                    job.id
                    for job in service.claim(ClaimRequest("w", ClaimFilter(), LIMIT), PROVENANCE)
                ]
                over_at, left = database.run(MOMENT, {})[0]
                with lock:
                    claims.append(Claim(taken, over_at, left))
                    missing -= len(taken)

    at_once(*[work] * CLAIMERS)
    return claims


def test_no_claim_leaves_a_better_job_to_one_that_begins_after_it(queue: Queue) -> None:
    claims = rush(queue, 4000)
    counts = Counter(job_id for claim in claims for job_id in claim.ids)
    assert (len(counts), set(counts.values())) == (4000, {1})
    order = queue.rows("SELECT id, started_at FROM scrape_jobs ORDER BY priority DESC, created_at")
    place = {job_id: number for number, (job_id, _) in enumerate(order)}
    for claim in claims:
        assert claim.ids == sorted(claim.ids, key=place.__getitem__)
    # Of all jobs that come before the worst one of a claim, none may have been taken by a claim
    # that had not begun when this one was over: what others have in their hands is passed over, and
    # nothing else is.
    latest_before: list[datetime] = []
    for _, started_at in order:
        latest_before.append(max(started_at, latest_before[-1]) if latest_before else started_at)
    assert all(
        latest_before[place[claim.ids[-1]]] <= claim.over_at for claim in claims if claim.ids
    )


def test_nobody_is_sent_away_while_there_is_more_work_than_others_can_hold(queue: Queue) -> None:
    claims = rush(queue, 5000)
    sent_away = [claim.left for claim in claims if not claim.ids and claim.left > CLAIMERS * LIMIT]
    assert not sent_away, f"{len(sent_away)} of {len(claims)} claims"


@pytest.mark.parametrize("spread", [False, True])
def test_many_claimers_at_once_fill_every_limit_and_exceed_none(queue: Queue, spread: bool) -> None:
    domains = [f"d{n}.example" for n in range(3)]
    for _ in range(4):
        clear(queue)
        fill(queue, *({"domain": domain, "jobs": 30} for domain in domains))
        fill(queue, {"domain": "own.example", "jobs": 30, "max_concurrent": 1})
        at_once(*[lambda: queue.claim(5, spread=spread, domain_limit=2)] * 20)
        running = queue.rows(
            "SELECT domain, count(*) FROM scrape_jobs WHERE status = 'running' GROUP BY domain"
        )
        assert dict(running) == {**dict.fromkeys(domains, 2), "own.example": 1}


def test_a_claim_within_a_larger_transaction_keeps_the_limits_too(queue: Queue) -> None:
    fill(queue, {"jobs": 60})

    def work() -> None:
        with own_work(queue.app), database.transaction():
            service.claim(ClaimRequest("w", ClaimFilter(domain_limit=3), 2), PROVENANCE)
            time.sleep(0.005)

    at_once(*[work] * 20)
    assert queue.rows("SELECT count(*) FROM scrape_jobs WHERE status = 'running'") == [(3,)]


# -------------------------------------------------------------------------------------------------------------- floods


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("own_limit", [None, 1])
def test_a_large_flood_of_a_full_domain_hides_no_lower_job(
    queue: Queue, own_limit: int | None, spread: bool
) -> None:
    flood = {"domain": "flood.example", "max_concurrent": own_limit}
    fill(queue, {**flood, "priority": 9, "age": 1000, "jobs": FLOOD // 2})
    fill(queue, {**flood, "priority": 5, "age": 1000, "jobs": FLOOD // 2})
    (other,) = fill(queue, {"domain": "other.example", "priority": 5})
    limit = None if own_limit else 1
    assert other not in {job.id for job in queue.claim(1, spread=spread, domain_limit=limit)}
    began = time.monotonic()
    assert [job.id for job in queue.claim(3, spread=spread, domain_limit=limit)] == [other]
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("domains", [None, ["flood.example"]])
def test_a_rare_type_is_found_behind_a_large_flood_of_its_own_domain(
    queue: Queue, domains: list[str] | None, spread: bool
) -> None:
    fill(queue, {"domain": "flood.example", "priority": 9, "age": 1000, "jobs": FLOOD})
    (rare,) = fill(queue, {"domain": "flood.example", "job_type": "rare", "priority": 1})
    assert queue.upcoming(3, job_types=["rare"], domains=domains) == [rare]
    assert [
        job.id for job in queue.claim(3, spread=spread, job_types=["rare"], domains=domains)
    ] == [rare]


def test_a_rare_type_is_found_behind_a_flood_of_it_that_is_held_back(queue: Queue) -> None:
    fill(
        queue,
        {"domain": "flood.example", "job_type": "rare", "priority": 9, "age": 1000, "jobs": FLOOD},
    )
    fill(queue, {"domain": "flood.example", "status": "running"})
    fill(queue, {"domain": "other.example", "priority": 9, "age": 1000, "jobs": FLOOD})
    (rare,) = fill(queue, {"domain": "other.example", "job_type": "rare", "priority": 1})
    wanted: dict[str, Any] = {"job_types": ["rare"], "domain_limit": 1}
    assert queue.upcoming(3, **wanted) == [rare]
    assert [job.id for job in queue.claim(3, **wanted)] == [rare]


def test_jobs_that_are_not_due_hide_nobody(queue: Queue) -> None:
    fill(queue, {"priority": 9, "age": 1000, "due_in": 3600, "jobs": FLOOD})
    (due,) = fill(queue, {"priority": 1})
    assert [job.id for job in queue.claim(3)] == [due]


@pytest.mark.parametrize("spread", [False, True])
def test_waiting_counts_in_either_form(queue: Queue, spread: bool) -> None:
    waited = 9 * 4 * 3600
    high, old, less_old, backdated = fill(
        queue,
        {"priority": 10, "age": 0},
        {"priority": 1, "age": waited + 60},
        {"priority": 1, "age": waited - 60},
        {"priority": 1, "age": 60, "due_in": -2.0 * waited},
    )
    assert [job.id for job in queue.claim(4, spread=spread)] == [old, high, less_old, backdated]


# ------------------------------------------------------------------------------------------------------------ any jobs

CUSTOMERS = [None, str(uuid.UUID(int=1)), str(uuid.UUID(int=2))]


def groups(most: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Return a strategy for groups of up to `most` jobs alike."""
    return st.lists(
        st.fixed_dictionaries(
            {
                "domain": st.sampled_from(["a.example", "b.example", "c.example"]),
                "job_type": st.sampled_from(["page", "feed", "map"]),
                "customer": st.sampled_from(CUSTOMERS),
                "priority": st.sampled_from([1, 4, 5, 10]),
                "max_concurrent": st.sampled_from([None, None, 1, 2, 3]),
                "status": st.sampled_from(["pending", "pending", "pending", "running"]),
                "due_in": st.sampled_from([None, None, -30.0, -200_000.0]),
                "age": st.integers(0, 200_000),
                "jobs": st.sampled_from([1, 1, 2, most]),
            }
        ).map(
            lambda group: (
                group if group["status"] == "pending" else {**group, "due_in": None, "jobs": 1}
            )
        )
        | st.just({"due_in": 3600.0, "jobs": most}),
        max_size=12,
    )


WANTED = st.fixed_dictionaries(
    {
        "domains": st.sampled_from([None, None, ["a.example"], ["c.example", "b.example"]]),
        "job_types": st.sampled_from([None, None, ["feed"], ["map", "feed"]]),
        "customer": st.sampled_from([None, None, uuid.UUID(int=1)]),
        "domain_limit": st.sampled_from([None, 1, 2, 4]),
    }
)

ANY = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def candidates(queue: Queue, wanted: dict[str, Any]) -> list[tuple[UUID, str, int | None]]:
    """Return the due jobs that are wanted, in the rules' order, each with its domain and its
    limit."""
    customer = wanted["customer"] and str(wanted["customer"])
    with queue.connection.cursor() as cursor:
        cursor.execute(IN_ORDER, {**wanted, "customer": customer})
        return [
            (job_id, domain, least(wanted["domain_limit"], own))
            for job_id, domain, own in cursor.fetchall()
        ]


def least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def running(queue: Queue) -> Counter[str]:
    return Counter(
        domain
        for (domain,) in queue.rows("SELECT domain FROM scrape_jobs WHERE status = 'running'")
    )


def greedy(
    jobs: Sequence[tuple[UUID, str, int | None]], busy: Counter[str], limit: int
) -> list[UUID]:
    """Return what one claim takes that goes from job to job."""
    taken: list[UUID] = []
    for job_id, domain, most in jobs:
        if len(taken) < limit and (most is None or busy[domain] < most):
            taken.append(job_id)
            busy[domain] += 1
    return taken


@ANY
@given(groups(MAX_SKIPPED_JOBS + 10), WANTED, st.integers(1, 8))
def test_a_claim_takes_what_going_from_job_to_job_would_take(
    queue: Queue, jobs: list[dict[str, Any]], wanted: dict[str, Any], limit: int
) -> None:
    clear(queue)
    fill(queue, *jobs)
    expected = greedy(candidates(queue, wanted), running(queue), limit)
    assert {job.id for job in queue.claim(limit, **wanted)} == set(expected)


@ANY
@given(groups(5), WANTED, st.integers(1, 40))
def test_the_second_form_takes_what_going_from_job_to_job_would_take(
    queue: Queue, jobs: list[dict[str, Any]], wanted: dict[str, Any], limit: int
) -> None:
    clear(queue)
    fill(queue, *jobs)
    expected = greedy(candidates(queue, wanted), running(queue), limit)
    assert [job.id for job in queue.claim(limit, spread=True, **wanted)] == expected


def test_one_answer_is_in_order_where_limits_of_several_kinds_meet(queue: Queue) -> None:
    first, second, third, last = fill(
        queue,
        {"priority": 10},
        {"priority": 9, "max_concurrent": 1},
        {"priority": 8, "max_concurrent": 2},
        {"priority": 1, "domain": "other.example"},
    )
    taken = [job.id for job in queue.claim(4)]
    assert second not in taken
    assert taken == [first, third, last]
