"""Many jobs that cannot start do not hide jobs that can."""

import time
from typing import Any

import pytest

from app.queue.order import MAX_SKIPPED_JOBS
from support.claims import ClaimQueue

FLOOD = 20_000


@pytest.mark.parametrize("own_limit", [None, 2])
def test_flood_of_a_full_domain_hides_no_job(queue: ClaimQueue, own_limit: int | None) -> None:
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


def test_rare_type_is_found_behind_another_type(queue: ClaimQueue) -> None:
    queue.fill(*({"priority": 9, "age": 90_000 - n} for n in range(10 * MAX_SKIPPED_JOBS)))
    (rare,) = queue.fill({"job_type": "rare", "domain": "rare.example", "priority": 1})
    assert [job.id for job in queue.claim(5, job_types=["rare"])] == [rare]


@pytest.mark.timed
@pytest.mark.parametrize("is_distributed", [False, True])
@pytest.mark.parametrize("own_limit", [None, 1])
def test_large_flood_hides_no_job_of_lower_priority(
    queue: ClaimQueue, own_limit: int | None, is_distributed: bool
) -> None:
    flood = {"domain": "flood.example", "max_concurrent": own_limit}
    queue.fill({**flood, "priority": 9, "age": 1000, "jobs": FLOOD // 2})
    queue.fill({**flood, "priority": 5, "age": 1000, "jobs": FLOOD // 2})
    (other,) = queue.fill({"domain": "other.example", "priority": 5})
    limit = None if own_limit else 1
    assert other not in {
        job.id for job in queue.claim(1, is_distributed=is_distributed, domain_limit=limit)
    }
    began = time.monotonic()
    assert [
        job.id for job in queue.claim(3, is_distributed=is_distributed, domain_limit=limit)
    ] == [other]
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("is_distributed", [False, True])
@pytest.mark.parametrize("domains", [None, ["flood.example"]])
def test_rare_type_is_found_in_a_flooded_domain(
    queue: ClaimQueue, domains: list[str] | None, is_distributed: bool
) -> None:
    queue.fill({"domain": "flood.example", "priority": 9, "age": 1000, "jobs": FLOOD})
    (rare,) = queue.fill({"domain": "flood.example", "job_type": "rare", "priority": 1})
    assert queue.upcoming(3, job_types=["rare"], domains=domains) == [rare]
    assert [
        job.id
        for job in queue.claim(
            3, is_distributed=is_distributed, job_types=["rare"], domains=domains
        )
    ] == [rare]


def test_rare_type_is_found_behind_held_back_jobs(queue: ClaimQueue) -> None:
    queue.fill(
        {"domain": "flood.example", "job_type": "rare", "priority": 9, "age": 1000, "jobs": FLOOD},
    )
    queue.fill({"domain": "flood.example", "status": "running"})
    queue.fill({"domain": "other.example", "priority": 9, "age": 1000, "jobs": FLOOD})
    (rare,) = queue.fill({"domain": "other.example", "job_type": "rare", "priority": 1})
    accepted: dict[str, Any] = {"job_types": ["rare"], "domain_limit": 1}
    assert queue.upcoming(3, **accepted) == [rare]
    assert [job.id for job in queue.claim(3, **accepted)] == [rare]


def test_jobs_that_are_not_due_hide_no_job(queue: ClaimQueue) -> None:
    queue.fill({"priority": 9, "age": 1000, "due_in": 3600, "jobs": FLOOD})
    (due,) = queue.fill({"priority": 1})
    assert [job.id for job in queue.claim(3)] == [due]
