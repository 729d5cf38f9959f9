"""Query plans of the service's own statements with 100,000 jobs."""

import itertools
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.database import Statement
from app.events.audit_queries import (
    EVENTS,
    EVENTS_BATCH,
    JOBS_BATCH,
    SHOWN_BATCH,
    VERIFY_ENDS,
    VERIFY_EVENTS,
)
from app.events.provenance import ANONYMOUS, Provenance
from app.events.queries import HISTORY, provenance_document
from app.jobs.change_queries import CHANGE
from app.jobs.list_queries import ORDERS, JobFilters
from app.jobs.read_queries import GET, LOCK_DOCUMENTS
from app.jobs.retention import PRUNE_BATCH, REMOVE
from support.database import migrate, new_database
from support.plans import PlanDatabase, assert_plans_use, nodes, rows_read, uses_only_indexes

JOBS = 100_000

FILL_JOBS = """
INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, status, priority,
    max_retries, metadata, stats, completed_at, created_at, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), md5((n % 200)::text)::uuid,
    'd' || n % 1000 || '.example', (ARRAY['domain_scrape', 'page_scrape', 'sitemap'])[1 + n % 3],
    s.status, 1 + n % 10, 3,
    jsonb_build_object('tags', jsonb_build_array('t' || n % 500)), '{"pagesProcessed": 100}',
    CASE WHEN s.status IN ('completed', 'failed', 'cancelled') THEN m.at END, m.at, m.at
FROM generate_series(1, %(jobs)s) AS n,
    LATERAL (SELECT (
        CASE WHEN n %% 100 < 90 THEN 'completed' WHEN n %% 100 < 95 THEN 'failed'
            WHEN n %% 100 < 97 THEN 'cancelled' WHEN n %% 100 < 99 THEN 'pending'
            ELSE 'running' END) AS status) AS s,
    LATERAL (SELECT timestamptz '2024-01-01Z' + n * interval '1 minute' AS at) AS m
""".replace("n % ", "n %% ")

FILL_EVENTS = """
INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes)
SELECT id, seq, created_at, 'updated', status, status, 'anonymous', '{}'
FROM scrape_jobs, generate_series(1, 3) AS seq
"""

# Runs after ANALYZE: otherwise the estimated frequency of the tag would depend on whether the
# sample contains it.
ADD_RARE_TAG = """
UPDATE scrape_jobs SET metadata = '{"tags": ["rare"]}'
WHERE id = (SELECT id FROM scrape_jobs LIMIT 1)
"""


@pytest.fixture(scope="module")
def filled(server_url: str) -> Iterator[PlanDatabase]:
    for url in new_database(server_url):
        migrate(url)
        database = PlanDatabase(url)
        database.rows(FILL_JOBS, {"jobs": JOBS})
        database.rows(FILL_EVENTS)
        database.rows("ANALYZE scrape_jobs, job_events")
        database.rows(ADD_RARE_TAG)
        yield database
        database.close()


def any_job(database: PlanDatabase) -> str:
    return str(database.rows("SELECT id FROM scrape_jobs LIMIT 1")[0][0])


def test_job_is_read_by_primary_key(filled: PlanDatabase) -> None:
    parameters = {"id": any_job(filled), "known_tags": "{}"}
    for statement in (GET, LOCK_DOCUMENTS):
        assert_plans_use(list(filled.plans(statement, parameters)), "scrape_jobs_pkey")


def test_job_is_changed_by_primary_key(filled: PlanDatabase) -> None:
    request = {
        "status": "running", "stats": {"pagesProcessed": 1}, "metadata": {"a": 1},
        "fixed_fields": {"job_type": "domain_scrape"}, "queue_fields": {"priority": 5},
    }  # fmt: skip
    job_id = filled.rows("SELECT id FROM scrape_jobs WHERE status = 'pending' LIMIT 1")[0][0]
    parameters = {
        "id": str(job_id),
        "request": json.dumps(request),
        "entered_from": "{pending}",
        "versions": None,
        "lease_token": None,
        "provenance": provenance_document("updated", Provenance(ANONYMOUS, "r")),
        "rules": json.dumps({"final": [], "queueable": ["pending"], "following": {}}),
    }
    scans = filled.scans(CHANGE, parameters)
    assert scans == {"scrape_jobs": (0, 2), "job_events": (0, 0)}


def test_events_are_exported_by_primary_key(filled: PlanDatabase) -> None:
    parameters = {
        "job_id": any_job(filled),
        "after_seq": 1,
        "at_first": False,
        "limit": SHOWN_BATCH,
    }
    assert_plans_use(list(filled.plans(EVENTS, parameters)), "job_events_pkey")


def test_history_is_read_by_primary_key(filled: PlanDatabase) -> None:
    plans = list(filled.plans(HISTORY, {"job_id": any_job(filled), "after": 1, "limit": 51}))
    assert_plans_use(plans, "job_events_pkey")
    # Sorting the few events of one job is fine. Searching them among those of other jobs is not.
    for plan in plans:
        events = [node for node in nodes(plan) if node.get("Relation Name") == "job_events"]
        assert events
        assert not [node for node in events if "Filter" in node]


MOMENT = datetime(2024, 2, 1, tzinfo=UTC)
MIDDLE = "80000000-0000-0000-0000-000000000000"
POSITIONS: Mapping[str, Sequence[Any]] = {
    "created_at": (MOMENT, uuid.UUID(int=7)),
    "-created_at": (MOMENT, uuid.UUID(int=7)),
    "priority": (-5, MOMENT, uuid.UUID(int=7)),
    "updated_at": (MOMENT, uuid.UUID(int=7)),
    "-updated_at": (MOMENT, uuid.UUID(int=7)),
}
FILTERS: Mapping[str, JobFilters] = {
    "none": JobFilters(),
    "status": JobFilters(status=["pending"]),
    "statuses": JobFilters(status=["pending", "running"]),
    "common status": JobFilters(status=["completed"]),
    "domain": JobFilters(domain="d7.example"),
    "job type": JobFilters(job_type="sitemap"),
    "customer": JobFilters(customer_config_id=uuid.UUID("c4ca4238-a0b9-2382-0dcc-509a6f75849b")),
    "tag": JobFilters(tag="t7"),
    "period": JobFilters(created_after=MOMENT, created_before=MOMENT + timedelta(days=1)),
    "several": JobFilters(status=["failed"], domain="d7.example", tag="t7"),
    "no matching job": JobFilters(domain="unknown.example", status=["running"]),
}
FIRST_OF: Mapping[str, str] = {
    "created_at": "scrape_jobs_created",
    "-created_at": "scrape_jobs_created",
    "priority": "scrape_jobs_priority_created",
    "updated_at": "scrape_jobs_updated",
    "-updated_at": "scrape_jobs_updated",
}


@pytest.mark.parametrize("sort", ORDERS)
def test_every_list_page_uses_an_index(filled: PlanDatabase, sort: str) -> None:
    for (name, filters), after in itertools.product(FILTERS.items(), (None, POSITIONS[sort])):
        plan = filled.plan_of_page(sort, filters, after)
        assert uses_only_indexes(plan), (name, after, plan)


@pytest.mark.parametrize("sort", ORDERS)
def test_list_without_filters_is_read_in_index_order(filled: PlanDatabase, sort: str) -> None:
    for after in (None, POSITIONS[sort]):
        plan = filled.plan_of_page(sort, JobFilters(), after)
        assert_plans_use([plan], FIRST_OF[sort])
        assert not [
            node for node in nodes(plan) if node["Node Type"] in ("Sort", "Incremental Sort")
        ], plan
        (scan,) = (node for node in nodes(plan) if node.get("Relation Name") == "scrape_jobs")
        assert ("Index Cond" in scan) == (after is not None), plan
        assert "Filter" not in scan, plan


def test_rare_tag_uses_the_index_of_tags(filled: PlanDatabase) -> None:
    assert_plans_use(
        [filled.plan_of_page("-created_at", JobFilters(tag="rare"), None)], "scrape_jobs_tags"
    )


BATCHES: Mapping[str, tuple[Statement, int, Mapping[str, Any]]] = {
    "events": (VERIFY_EVENTS, EVENTS_BATCH, {"after": MIDDLE, "after_seq": 2, "at_first": False}),
    "ends": (VERIFY_ENDS, JOBS_BATCH, {"after": MIDDLE, "at_first": False}),
    "prune": (
        REMOVE,
        PRUNE_BATCH,
        {"cutoff": MOMENT + timedelta(days=9), "after_time": MOMENT, "after_id": MIDDLE},
    ),
}


@pytest.mark.parametrize(
    "with_row_security", [False, True], ids=["as the owner", "with row security"]
)
@pytest.mark.parametrize("name", BATCHES)
def test_batch_reads_only_its_rows_by_index(
    filled: PlanDatabase, name: str, with_row_security: bool
) -> None:
    statement, limit, parameters = BATCHES[name]
    with filled.as_role_with_row_security() if with_row_security else nullcontext():
        plans = list(filled.plans(statement, {**parameters, "limit": limit}, run=True))
    assert len(plans) == 2
    for plan in plans:
        read_rows = rows_read(plan)
        assert read_rows
        assert "Seq Scan" not in read_rows, plan
        events_of_each = 3 if statement is REMOVE else 1
        assert max(read_rows.values()) <= limit * events_of_each + 1, plan
