"""Query plans of the queue, with many pending jobs that PostgreSQL's statistics do not include."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from app.database import Statement
from app.database.catalogue import statements
from app.database.tenant_scope import PARAMETER
from app.events.provenance import ANONYMOUS, Provenance
from app.events.queries import provenance_parameters
from app.jobs.lease_queries import lease_parameters
from app.queue.claims import ClaimFilter
from app.queue.order import FIRST_JOBS, MAX_SKIPPED_JOBS, PARTITIONINGS
from app.queue.position_queries import DEPTH, POSITION
from support.database import migrate, new_database
from support.plans import PlanDatabase as Database
from support.plans import assert_plans_use, nodes

WAITING = 20_000
DONE = 20_000
CUSTOMER = "c4ca4238-a0b9-2382-0dcc-509a6f75849b"

FILL = f"""
INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, status, priority,
    max_retries, completed_at, created_at, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), '{CUSTOMER}', %(domain)s, 'domain_scrape', %(status)s,
    1 + n %% 10, 3, CASE WHEN %(status)s = 'completed' THEN now() END,
    now() - n * interval '1 second', now()
FROM generate_series(1, %(jobs)s) AS n
"""


@pytest.fixture(scope="module")
def waiting(server_url: str) -> Iterator[Database]:
    """A database with many pending jobs of one domain, inserted after the last ANALYZE."""
    for url in new_database(server_url):
        migrate(url)
        database = Database(url)
        database.rows("ALTER TABLE scrape_jobs SET (autovacuum_enabled = off)")
        database.rows(FILL, {"domain": "done.example", "status": "completed", "jobs": DONE})
        database.rows("ANALYZE scrape_jobs")
        database.rows(FILL, {"domain": "one.example", "status": "pending", "jobs": WAITING})
        yield database
        database.close()


DOMAINS = ["one.example", "two.example"]
FILTERS: Mapping[str, tuple[str, ClaimFilter]] = {
    "any": ("all", ClaimFilter()),
    "a type": ("types", ClaimFilter(job_types=["domain_scrape"])),
    "a customer": ("customer", ClaimFilter()),
    "domains": ("domains", ClaimFilter(domains=DOMAINS)),
    "domains and a type": (
        "domains_and_types",
        ClaimFilter(domains=DOMAINS, job_types=["domain_scrape"]),
    ),
    "domains and a rare type": (
        "domains_and_types",
        ClaimFilter(domains=DOMAINS, job_types=["rare"]),
    ),
    "a domain behind full ones": ("all_domains", ClaimFilter(domain_limit=5)),
}
INDEXES = {
    "all": "scrape_jobs_due",
    "types": "scrape_jobs_type_due",
    "customer": "scrape_jobs_customer_due",
    "domains": "scrape_jobs_domain_due",
    "domains_and_types": "scrape_jobs_domain_type_due",
    "all_domains": "scrape_jobs_domain_due",
}


def parameters(partitioning: str, claim_filter: ClaimFilter) -> dict[str, Any]:
    return {
        **claim_filter.parameters(),
        "limit": 1,
        "candidates": 9,
        "shown": 9,
        "window": 9 + MAX_SKIPPED_JOBS,
        "tokens": ["token"],
        **lease_parameters("w", 60, Provenance(ANONYMOUS, "r")),
        **provenance_parameters("claimed", Provenance(ANONYMOUS, "r")),
        PARAMETER: CUSTOMER if partitioning == "customer" else None,
    }


def run(database: Database, statement: Statement, values: Mapping[str, Any]) -> list[str]:
    return list(database.plans(statement, values, run=True))


def pages_read(plan: str) -> int:
    """Return how many pages an executed plan has read, from memory or disk."""
    root = next(nodes(plan))
    return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


def kinds(partitioning: str) -> list[str]:
    return ["claim", "next", *(["claim_first"] if partitioning in FIRST_JOBS else [])]


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, (each, _) in FILTERS.items() for kind in kinds(each)]
)
def test_claim_reads_only_the_first_jobs(waiting: Database, name: str, kind: str) -> None:
    partitioning, claim_filter = FILTERS[name]
    plans = run(
        waiting, statements()[f"{kind}_{partitioning}"], parameters(partitioning, claim_filter)
    )
    assert_plans_use(plans, INDEXES[partitioning])
    for plan in plans:
        assert pages_read(plan) < WAITING / 20, plan


def test_every_partitioning_has_a_plan_test() -> None:
    assert (
        {partitioning for partitioning, _ in FILTERS.values()} == set(PARTITIONINGS) == set(INDEXES)
    )


def test_filter_chooses_the_partitioning() -> None:
    types = ["a", "b"]
    assert ClaimFilter(domains=DOMAINS).partitioning == "domains"
    assert ClaimFilter(domains=DOMAINS, job_types=types).partitioning == "domains_and_types"
    assert (
        ClaimFilter(domains=[f"d{n}.example" for n in range(60)], job_types=types).partitioning
        == "domains"
    )


def test_queue_depth_uses_an_index(waiting: Database) -> None:
    assert_plans_use(run(waiting, DEPTH, {}), "scrape_jobs_status_created")


def test_queue_position_uses_the_partition_index(waiting: Database) -> None:
    job_id = waiting.rows(
        "SELECT id FROM scrape_jobs WHERE status = 'pending' ORDER BY created_at DESC LIMIT 1"
    )[0][0]
    plans = run(waiting, POSITION, {"id": str(job_id), "domain_limit": None})
    assert_plans_use(plans, "scrape_jobs_due")
    assert_plans_use(plans, "scrape_jobs_pkey")
