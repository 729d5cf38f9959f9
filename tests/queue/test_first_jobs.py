"""Small claims, which try the first jobs of the queue one by one."""

import json
from typing import Any

import pytest

from app import database
from app.database import Statement
from app.queue import service
from app.queue.claims import ClaimedJob
from support.claims import ClaimQueue

DIFFERENT_COLUMNS = {
    "id", "job_id", "domain", "domain_id", "lease_token", "created_at", "updated_at", "started_at",
    "lease_expires_at", "at", "hash", "chain", "changes",
}  # fmt: skip
CLAIMS: dict[str, dict[str, Any]] = {
    "first.example": {},
    "second.example": {"domains": ["second.example"]},
    "third.example": {"is_distributed": True},
}
"""For a domain, the arguments of a claim that gets its job in another way than the others."""


@pytest.fixture
def statements_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that claims have run."""
    names: list[str] = []
    run = database.run

    def recorded(statement: Statement, parameters: Any) -> Any:
        names.append(statement.name)
        return run(statement, parameters)

    monkeypatch.setattr(database, "run", recorded)
    return names


def test_small_claim_takes_one_statement(queue: ClaimQueue, statements_run: list[str]) -> None:
    queue.fill({"jobs": 20})
    assert len(queue.claim(service.MAX_SMALL_CLAIM, domain_limit=5)) == service.MAX_SMALL_CLAIM
    assert statements_run == ["claim_first_all"]


def test_empty_queue_takes_one_statement(queue: ClaimQueue, statements_run: list[str]) -> None:
    queue.fill({"status": "running"}, {"due_in": 60})
    assert not queue.claim(1)
    assert statements_run == ["claim_first_all"]


def test_small_claim_looks_past_full_domains(queue: ClaimQueue, statements_run: list[str]) -> None:
    queue.fill({"domain": "full.example", "age": 900, "jobs": 30, "max_concurrent": 1})
    queue.fill({"domain": "full.example", "status": "running"})
    (other,) = queue.fill({"domain": "other.example", "priority": 1})
    assert [job.id for job in queue.claim(1)] == [other]
    assert statements_run == ["claim_first_all", "claim_all"]


def test_small_claim_completes_a_partial_one(queue: ClaimQueue) -> None:
    queue.fill({"domain": "full.example", "age": 900, "jobs": 30, "max_concurrent": 1})
    others = queue.fill({"domain": "a.example", "priority": 1}, {"domain": "b.example"})
    claimed = [job.id for job in queue.claim(3)]
    assert len(claimed) == 3
    assert set(others) < set(claimed)


@pytest.mark.parametrize("table", ["scrape_jobs", "job_events", "outbox", "uncounted_events"])
def test_all_kinds_of_claim_write_the_same(queue: ClaimQueue, table: str) -> None:
    claimed = claim_in_each_way(queue)
    rows = [
        json.loads(text)
        for job in claimed
        for (text,) in queue.rows(
            f"SELECT row_to_json(t)::text FROM {table} t"
            f" WHERE {'id' if table == 'scrape_jobs' else 'job_id'} = %s",
            [str(job.id)],
        )
    ]
    written = [
        {name: value for name, value in row.items() if name not in DIFFERENT_COLUMNS}
        for row in rows
    ]
    assert len(written) == len(CLAIMS)
    assert written[1:] == written[:1] * (len(CLAIMS) - 1)


def test_all_kinds_of_claim_record_the_changes(queue: ClaimQueue) -> None:
    claim_in_each_way(queue)
    changes = [row[0] for row in queue.rows("SELECT changes FROM job_events ORDER BY job_id")]
    for each in changes:
        assert set(each) == {"started_at", "scheduled_for", "worker_id"}
        assert each["scheduled_for"]["to"] is None
        assert each["worker_id"] == {"from": "former", "to": "w"}
    assert len(changes) == len(CLAIMS)


def test_all_kinds_of_claim_return_the_same_fields(queue: ClaimQueue) -> None:
    jobs = [json.loads(job.json) for job in claim_in_each_way(queue)]
    assert [list(job) for job in jobs[1:]] == [list(jobs[0])] * (len(CLAIMS) - 1)
    assert {str(job["allowed_transitions"]) for job in jobs} == {
        "['completed', 'failed', 'cancelled']"
    }


def claim_in_each_way(queue: ClaimQueue) -> list[ClaimedJob]:
    """Claim a job of each domain of CLAIMS; each had a worker before, and was due later."""
    claimed: list[ClaimedJob] = []
    for domain, how in CLAIMS.items():
        queue.fill({"domain": domain, "due_in": -30})
        queue.rows("UPDATE scrape_jobs SET worker_id = 'former' WHERE status = 'pending'")
        claimed.extend(queue.claim(1, **how))
    return claimed
