"""Many workers claim at the same time: each job once, in order, and within the limits."""

import random
import threading
import time
from collections import Counter
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import pytest

from app import database
from app.database import Statement
from app.queue import service
from app.queue.claims import ClaimFilter, ClaimRequest
from support.claims import CLAIMERS, PROVENANCE, ClaimQueue, at_once
from support.service import own_work

CLAIM_BATCH = 20


READ_TIME_AND_PENDING = Statement(
    "read_time_and_pending",
    promise="The time, and the number of pending jobs.",
    sql="""
    SELECT clock_timestamp(),
        (SELECT count(*) FROM scrape_jobs j WHERE (j.status = 'pending') IS TRUE)
    """,
)


def test_fifty_claimers_get_each_job_once_in_order(queue: ClaimQueue) -> None:
    queue.fill(*({"priority": 1 + n % 10, "age": 20_000 - n} for n in range(10_000)))
    queue.rows("ANALYZE scrape_jobs")
    claimed: list[list[tuple[int, UUID]]] = []
    priorities = dict(queue.rows("SELECT id, priority FROM scrape_jobs"))

    def work() -> None:
        while jobs := queue.claim(CLAIM_BATCH):
            claimed.append([(priorities[job.id], job.id) for job in jobs])  # appending is atomic

    at_once(*[work] * CLAIMERS)
    counts = Counter(job_id for batch in claimed for _, job_id in batch)
    assert len(counts) == 10_000
    assert set(counts.values()) == {1}
    for batch in claimed:
        assert [priority for priority, _ in batch] == sorted(
            (priority for priority, _ in batch), reverse=True
        )
    # In the order of the claims: a claim may pass jobs of a higher priority only while other
    # claims hold them.
    order = [
        row[0]
        for row in queue.rows("SELECT priority FROM scrape_jobs ORDER BY started_at, -priority")
    ]
    higher_left = Counter(order)
    for priority in order:
        higher_left[priority] -= 1
        assert sum(n for p, n in higher_left.items() if p > priority) <= CLAIMERS * CLAIM_BATCH
    assert queue.rows("SELECT count(*) FROM job_events WHERE action = 'claimed'") == [(10_000,)]
    assert queue.rows("SELECT count(DISTINCT lease_token) FROM scrape_jobs") == [(10_000,)]


class Claim(NamedTuple):
    """The jobs of a claim, when it ended, and how many jobs were pending at that moment."""

    ids: list[UUID]
    ended_at: datetime
    pending: int


def claim_everything(queue: ClaimQueue, jobs: int) -> list[Claim]:
    """Claim `jobs` new jobs with CLAIMERS threads, CLAIM_BATCH at a time, until none is left."""
    queue.fill(*({"priority": 1 + n % 10, "age": 2 * jobs - n} for n in range(jobs)))
    queue.rows("ANALYZE scrape_jobs")
    claims: list[Claim] = []
    lock = threading.Lock()
    missing = jobs
    request = ClaimRequest("w", ClaimFilter(), CLAIM_BATCH)

    def work() -> None:
        nonlocal missing
        with own_work(queue.app):
            while missing > 0:
                claimed = [job.id for job in service.claim(request, PROVENANCE)]
                ended_at, pending = database.run(READ_TIME_AND_PENDING, {})[0]
                with lock:
                    claims.append(Claim(claimed, ended_at, pending))
                    missing -= len(claimed)

    at_once(*[work] * CLAIMERS)
    return claims


def test_no_claim_leaves_better_jobs_to_later_claims(queue: ClaimQueue) -> None:
    claims = claim_everything(queue, 4000)
    counts = Counter(job_id for claim in claims for job_id in claim.ids)
    assert (len(counts), set(counts.values())) == (4000, {1})
    order = queue.rows("SELECT id, started_at FROM scrape_jobs ORDER BY priority DESC, created_at")
    position = {job_id: number for number, (job_id, _) in enumerate(order)}
    for claim in claims:
        assert claim.ids == sorted(claim.ids, key=position.__getitem__)
    # All jobs that come before the last job of a claim must have been taken by claims that began
    # before this claim ended: a claim skips only jobs that other claims hold.
    latest_before: list[datetime] = []
    for _, started_at in order:
        latest_before.append(max(started_at, latest_before[-1]) if latest_before else started_at)
    assert all(
        latest_before[position[claim.ids[-1]]] <= claim.ended_at for claim in claims if claim.ids
    )


def test_no_claim_is_empty_while_jobs_remain(queue: ClaimQueue) -> None:
    claims = claim_everything(queue, 5000)
    empty = [
        claim.pending
        for claim in claims
        if not claim.ids and claim.pending > CLAIMERS * CLAIM_BATCH
    ]
    assert not empty, f"{len(empty)} of {len(claims)} claims"


def test_distributed_claims_get_each_job_once(queue: ClaimQueue) -> None:
    queue.fill(*({"age": 900 - n} for n in range(200)))
    claimed: list[UUID] = []

    def work() -> None:
        while jobs := queue.claim(5, is_distributed=True):
            claimed.extend(job.id for job in jobs)

    at_once(*[work] * 8)
    assert len(claimed) == len(set(claimed)) == 200


@pytest.mark.parametrize("is_distributed", [False, True])
def test_many_claimers_exceed_no_limit(queue: ClaimQueue, is_distributed: bool) -> None:
    queue.fill(*({"domain": f"d{n % 3}.example", "age": 9000 - n} for n in range(300)))
    queue.fill(
        *({"domain": "polite.example", "max_concurrent": 1, "age": 9000 - n} for n in range(60))
    )
    stopped, highest = threading.Event(), Counter[str]()

    def finish() -> None:
        """Record the highest number of running jobs of each domain, and complete some."""
        while not stopped.is_set():
            running = Counter(
                domain
                for (domain,) in queue.rows("SELECT domain FROM scrape_jobs WHERE status='running'")
            )
            for domain, number in running.items():
                highest[domain] = max(highest[domain], number)
            queue.rows(
                "UPDATE scrape_jobs SET status = 'completed', completed_at = now(),"
                " lease_expires_at = NULL WHERE status = 'running' AND random() < 0.5"
            )

    def work() -> None:
        chance = random.Random()
        for _ in range(12):
            queue.claim(chance.randint(1, 5), is_distributed=is_distributed, domain_limit=2)
            time.sleep(chance.uniform(0, 0.02))

    watcher = threading.Thread(target=finish)
    watcher.start()
    at_once(*[work] * 20)
    stopped.set()
    watcher.join()
    assert set(highest) == {"d0.example", "d1.example", "d2.example", "polite.example"}
    assert max(highest[f"d{n}.example"] for n in range(3)) <= 2
    assert highest["polite.example"] == 1


@pytest.mark.parametrize("is_distributed", [False, True])
def test_many_claimers_reach_every_limit(queue: ClaimQueue, is_distributed: bool) -> None:
    domains = [f"d{n}.example" for n in range(3)]
    for _ in range(4):
        queue.clear()
        queue.fill(*({"domain": domain, "jobs": 30} for domain in domains))
        queue.fill({"domain": "own.example", "jobs": 30, "max_concurrent": 1})
        at_once(*[lambda: queue.claim(5, is_distributed=is_distributed, domain_limit=2)] * 20)
        running = queue.rows(
            "SELECT domain, count(*) FROM scrape_jobs WHERE status = 'running' GROUP BY domain"
        )
        assert dict(running) == {**dict.fromkeys(domains, 2), "own.example": 1}


def test_claim_in_larger_transaction_keeps_the_limits(queue: ClaimQueue) -> None:
    queue.fill({"jobs": 60})

    def work() -> None:
        with own_work(queue.app), database.transaction():
            service.claim(ClaimRequest("w", ClaimFilter(domain_limit=3), 2), PROVENANCE)
            time.sleep(0.005)

    at_once(*[work] * 20)
    assert queue.rows("SELECT count(*) FROM scrape_jobs WHERE status = 'running'") == [(3,)]
