"""Claims, compared with a program that checks one job after another."""

import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.queue.order import MAX_SKIPPED_JOBS
from support.claims import ClaimQueue

IN_ORDER = """
SELECT j.id, j.domain, j.max_concurrent FROM scrape_jobs j
WHERE j.status = 'pending' AND greatest(j.scheduled_for, j.created_at) <= now()
    AND (%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))
    AND (%(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[]))
    AND (%(customer)s::uuid IS NULL OR j.customer_config_id = %(customer)s::uuid)
ORDER BY greatest(j.scheduled_for, j.created_at) - j.priority * interval '4 hours', j.id
"""


CUSTOMERS = [None, str(uuid.UUID(int=1)), str(uuid.UUID(int=2))]


def job_groups(largest: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Return a strategy for groups of up to `largest` equal jobs."""
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
                "jobs": st.sampled_from([1, 1, 2, largest]),
            }
        ).map(
            lambda group: (
                group if group["status"] == "pending" else {**group, "due_in": None, "jobs": 1}
            )
        )
        | st.just({"due_in": 3600.0, "jobs": largest}),
        max_size=12,
    )


FILTERS = st.fixed_dictionaries(
    {
        "domains": st.sampled_from([None, None, ["a.example"], ["c.example", "b.example"]]),
        "job_types": st.sampled_from([None, None, ["feed"], ["map", "feed"]]),
        "customer": st.sampled_from([None, None, uuid.UUID(int=1)]),
        "domain_limit": st.sampled_from([None, 1, 2, 4]),
    }
)


PROPERTY = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def candidates(queue: ClaimQueue, accepted: dict[str, Any]) -> list[tuple[UUID, str, int | None]]:
    """Return the accepted due jobs in the queue's order, each with its domain and its limit."""
    customer = accepted["customer"] and str(accepted["customer"])
    with queue.connection.cursor() as cursor:
        cursor.execute(IN_ORDER, {**accepted, "customer": customer})
        return [
            (job_id, domain, lower_limit(accepted["domain_limit"], own))
            for job_id, domain, own in cursor.fetchall()
        ]


def lower_limit(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def running(queue: ClaimQueue) -> Counter[str]:
    return Counter(
        domain
        for (domain,) in queue.rows("SELECT domain FROM scrape_jobs WHERE status = 'running'")
    )


def claim_one_by_one(
    jobs: Sequence[tuple[UUID, str, int | None]], busy: Counter[str], limit: int
) -> list[UUID]:
    """Return the jobs of a claim that checks one job after another."""
    claimed: list[UUID] = []
    for job_id, domain, job_limit in jobs:
        if len(claimed) < limit and (job_limit is None or busy[domain] < job_limit):
            claimed.append(job_id)
            busy[domain] += 1
    return claimed


@PROPERTY
@given(job_groups(MAX_SKIPPED_JOBS + 10), FILTERS, st.integers(1, 8))
def test_claim_equals_claiming_one_by_one(
    queue: ClaimQueue, jobs: list[dict[str, Any]], accepted: dict[str, Any], limit: int
) -> None:
    queue.clear()
    queue.fill(*jobs)
    expected = claim_one_by_one(candidates(queue, accepted), running(queue), limit)
    assert {job.id for job in queue.claim(limit, **accepted)} == set(expected)


@PROPERTY
@given(job_groups(5), FILTERS, st.integers(1, 40))
def test_distributed_claim_equals_claiming_one_by_one(
    queue: ClaimQueue, jobs: list[dict[str, Any]], accepted: dict[str, Any], limit: int
) -> None:
    queue.clear()
    queue.fill(*jobs)
    expected = claim_one_by_one(candidates(queue, accepted), running(queue), limit)
    assert [job.id for job in queue.claim(limit, is_distributed=True, **accepted)] == expected


@PROPERTY
@given(job_groups(5), FILTERS, st.integers(1, 4))
def test_repeated_small_claims_follow_the_order(
    queue: ClaimQueue, jobs: list[dict[str, Any]], accepted: dict[str, Any], limit: int
) -> None:
    queue.clear()
    queue.fill(*jobs)
    expected = claim_one_by_one(candidates(queue, accepted), running(queue), 1000)
    claimed: list[UUID] = []
    while batch := queue.claim(limit, **accepted):
        claimed.extend(job.id for job in batch)
    assert claimed == expected
