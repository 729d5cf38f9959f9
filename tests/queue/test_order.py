"""The order of the queue: priority, ageing, limits."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.queue.order import AGING_SECONDS
from support.claims import ClaimQueue


def test_four_hours_of_waiting_equal_one_priority(queue: ClaimQueue) -> None:
    waited = 9 * AGING_SECONDS
    high, old, less_old = queue.fill(
        {"priority": 10, "age": 0},
        {"priority": 1, "age": waited + 60},
        {"priority": 1, "age": waited - 60},
    )
    assert queue.upcoming(3) == [old, high, less_old]


@pytest.mark.parametrize("is_distributed", [False, True])
def test_waiting_counts_in_both_kinds_of_claim(queue: ClaimQueue, is_distributed: bool) -> None:
    waited = 9 * 4 * 3600
    high, old, less_old, backdated = queue.fill(
        {"priority": 10, "age": 0},
        {"priority": 1, "age": waited + 60},
        {"priority": 1, "age": waited - 60},
        {"priority": 1, "age": 60, "due_in": -2.0 * waited},
    )
    assert [job.id for job in queue.claim(4, is_distributed=is_distributed)] == [
        old,
        high,
        less_old,
        backdated,
    ]


def test_waiting_begins_when_created_and_due(queue: ClaimQueue) -> None:
    backdated, late, older = queue.fill(
        {"age": 10, "due_in": -1e6}, {"age": 1e6, "due_in": -5}, {"age": 20}
    )
    assert queue.upcoming(3) == [older, backdated, late]


def test_distributed_claim_leases_the_upcoming_jobs(queue: ClaimQueue) -> None:
    jobs = [
        {"priority": 1 + n % 4, "domain": f"d{n % 5}.example", "age": 500 - n} for n in range(40)
    ]
    ids = queue.fill(*jobs)
    expected = queue.upcoming(7, domain_limit=3)
    claimed = queue.claim(7, is_distributed=True, domain_limit=3)
    assert [job.id for job in claimed] == expected
    assert set(expected) < set(ids)
    leased = queue.rows(
        "SELECT id, lease_token FROM scrape_jobs WHERE status = 'running' AND lease_seconds = 60"
    )
    assert sorted(leased) == sorted((job.id, job.token) for job in claimed)
    assert queue.rows("SELECT count(*) FROM outbox") == [(7,)]


def test_claim_is_in_order_under_different_limits(queue: ClaimQueue) -> None:
    first, second, third, last = queue.fill(
        {"priority": 10},
        {"priority": 9, "max_concurrent": 1},
        {"priority": 8, "max_concurrent": 2},
        {"priority": 1, "domain": "other.example"},
    )
    claimed = [job.id for job in queue.claim(4)]
    assert second not in claimed
    assert claimed == [first, third, last]


@pytest.mark.parametrize(("limit", "is_distributed"), [(30, False), (4, False), (30, True)])
def test_job_that_exceeds_its_limit_takes_no_place(
    queue: ClaimQueue, limit: int, is_distributed: bool
) -> None:
    first, exceeding, second, third, last = queue.fill(
        {"age": 50},
        {"age": 40, "max_concurrent": 1},
        {"age": 30},
        {"age": 20, "max_concurrent": 3},
        {"age": 10},
    )
    claimed = queue.claim(limit, is_distributed=is_distributed)
    assert [job.id for job in claimed] == [first, second, third, last]
    assert queue.claim(limit, is_distributed=is_distributed) == []
    assert exceeding not in queue.upcoming(5)


JOB_LISTS = st.lists(
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


FILTERS = st.fixed_dictionaries(
    {
        "domains": st.sampled_from([None, ["a.example"], ["b.example", "c.example"]]),
        "job_types": st.sampled_from([None, ["feed"]]),
        "domain_limit": st.sampled_from([None, 1, 2]),
    }
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(JOB_LISTS, st.sets(st.integers(0, 24), max_size=4), FILTERS)
def test_upcoming_jobs_follow_the_rules(
    queue: ClaimQueue, jobs: list[dict[str, Any]], running: set[int], accepted: dict[str, Any]
) -> None:
    queue.clear()
    ids = queue.fill(*jobs) if jobs else []
    busy = [job_id for number, job_id in enumerate(ids) if number in running]
    queue.rows(
        "UPDATE scrape_jobs SET status = 'running', scheduled_for = NULL"
        " WHERE id = ANY(%s::uuid[])",
        [busy],
    )
    expected = expected_order(queue, **accepted)
    shown = queue.upcoming(30, **accepted)
    assert shown == [job_id for job_id in expected if job_id in shown]
    assert bool(shown) == bool(expected)
    assert [job.id for job in queue.claim(30, **accepted)] == expected


def expected_order(
    queue: ClaimQueue,
    domains: Sequence[str] | None,
    job_types: Sequence[str] | None,
    domain_limit: int | None,
) -> list[UUID]:
    """Return the jobs in the order of the rules; each counts the jobs before it as running."""
    rows = queue.rows(
        "SELECT id, status, domain, job_type, priority, max_concurrent,"
        " extract(epoch FROM greatest(scheduled_for, created_at))::float8,"
        " extract(epoch FROM now())::float8"
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
