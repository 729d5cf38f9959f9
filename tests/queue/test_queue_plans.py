"""What a claim reads where many jobs of one domain wait, and the statistics are from a time when
none did."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from app.database import Statement
from app.database.tenant_scope import PARAMETER
from app.events.provenance import ANONYMOUS, Provenance
from app.events.queries import provenance_parameters
from app.queue.order import LANES, WINDOW
from app.queue.queries import DEPTH, PLACE, Wanted
from support.database import migrate, new_database
from support.plans import PlanDatabase as Database
from support.plans import assert_plans_use, nodes
from support.statements import statements

WAITING = 20_000
DONE = 20_000
CUSTOMER = "c4ca4238-a0b9-2382-0dcc-509a6f75849b"

FILL = f"""
INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, status, priority, max_retries,
    completed_at, created_at, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), '{CUSTOMER}', %(domain)s, 'domain_scrape', %(status)s, 1 + n %% 10, 3,
    CASE WHEN %(status)s = 'completed' THEN now() END, now() - n * interval '1 second', now()
FROM generate_series(1, %(jobs)s) AS n
"""


@pytest.fixture(scope="module")
def waiting(server_url: str) -> Iterator[Database]:
    """Many jobs of one domain that wait, of which PostgreSQL knows nothing."""
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
WANTED: Mapping[str, tuple[str, Wanted]] = {
    "any": ("all", Wanted()),
    "a type": ("types", Wanted(job_types=["domain_scrape"])),
    "a customer": ("customer", Wanted()),
    "domains": ("domains", Wanted(domains=DOMAINS)),
    "domains and a type": (
        "domains_and_types",
        Wanted(domains=DOMAINS, job_types=["domain_scrape"]),
    ),
    "domains and a rare type": ("domains_and_types", Wanted(domains=DOMAINS, job_types=["rare"])),
    "a domain behind full ones": ("all_domains", Wanted(domain_limit=5)),
}
INDEXES = {
    "all": "scrape_jobs_due",
    "types": "scrape_jobs_type_due",
    "customer": "scrape_jobs_customer_due",
    "domains": "scrape_jobs_domain_due",
    "domains_and_types": "scrape_jobs_domain_type_due",
    "all_domains": "scrape_jobs_domain_due",
}


def parameters(lanes: str, wanted: Wanted) -> dict[str, Any]:
    return {
        **wanted.parameters(),
        "limit": 1,
        "candidates": 9,
        "shown": 9,
        "window": 9 + WINDOW,
        "tokens": ["token"],
        "worker_id": "w",
        "lease_seconds": 60,
        PARAMETER: CUSTOMER if lanes == "customer" else None,
        **provenance_parameters("claimed", Provenance(ANONYMOUS, "r")),
    }


def run(database: Database, statement: Statement, values: Mapping[str, Any]) -> list[str]:
    return list(database.plans(statement, values, run=True))


def pages_read(plan: str) -> int:
    """Return how many pages a plan that was carried out looked at, in memory or not."""
    root = next(nodes(plan))
    return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


@pytest.mark.parametrize("kind", ["claim", "next"])
@pytest.mark.parametrize("name", WANTED)
def test_a_claim_reads_only_its_lanes_heads(waiting: Database, name: str, kind: str) -> None:
    lanes, wanted = WANTED[name]
    plans = run(waiting, statements()[f"{kind}_{lanes}"], parameters(lanes, wanted))
    assert_plans_use(plans, INDEXES[lanes])
    for plan in plans:
        assert pages_read(plan) < WAITING / 20, plan


def test_every_way_to_claim_is_planned() -> None:
    assert {lanes for lanes, _ in WANTED.values()} == set(LANES) == set(INDEXES)


def test_a_worker_s_filters_choose_the_lanes() -> None:
    types = ["a", "b"]
    assert Wanted(domains=DOMAINS).lanes == "domains"
    assert Wanted(domains=DOMAINS, job_types=types).lanes == "domains_and_types"
    assert Wanted(domains=[f"d{n}.example" for n in range(60)], job_types=types).lanes == "domains"


def test_the_queue_s_depth_goes_by_an_index(waiting: Database) -> None:
    assert_plans_use(run(waiting, DEPTH, {}), "scrape_jobs_status_created")


def test_a_job_s_place_goes_by_the_lanes(waiting: Database) -> None:
    job_id = waiting.rows(
        "SELECT id FROM scrape_jobs WHERE status = 'pending' ORDER BY created_at DESC LIMIT 1"
    )[0][0]
    plans = run(waiting, PLACE, {"id": str(job_id), "domain_limit": None})
    assert_plans_use(plans, "scrape_jobs_due")
    assert_plans_use(plans, "scrape_jobs_pkey")
