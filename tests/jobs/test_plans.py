"""The plans that PostgreSQL makes for the service's own statements on a hundred thousand jobs."""

import itertools
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from sqlalchemy import create_engine, event, make_url

from app.database import Statement
from app.database.tenant_scope import PARAMETER, SETTING, all_customers
from app.events.audit_queries import (
    EVENTS,
    EVENTS_BATCH,
    JOBS_BATCH,
    SHOWN_BATCH,
    VERIFY_ENDS,
    VERIFY_EVENTS,
)
from app.events.provenance import ANONYMOUS, Provenance
from app.events.queries import HISTORY, provenance_parameters
from app.jobs.change_queries import CHANGE, CHANGE_COMPARED
from app.jobs.list_queries import ORDERS, JobFilters, page_query
from app.jobs.read_queries import GET, LOCK_DOCUMENTS
from app.jobs.retention import PRUNE_BATCH, REMOVE
from support.database import migrate, new_database

JOBS = 100_000
TABLES = {"scrape_jobs", "job_events"}

FILL_JOBS = """
INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, status, priority, max_retries, metadata,
    stats, completed_at, created_at, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), md5((n % 200)::text)::uuid, 'd' || n % 1000 || '.example',
    (ARRAY['domain_scrape', 'page_scrape', 'sitemap'])[1 + n % 3], s.status, 1 + n % 10, 3,
    jsonb_build_object('tags', jsonb_build_array('t' || n % 500)), '{"pagesProcessed": 100}',
    CASE WHEN s.status IN ('completed', 'failed', 'cancelled') THEN m.at END, m.at, m.at
FROM generate_series(1, %(jobs)s) AS n,
    LATERAL (SELECT (CASE WHEN n %% 100 < 90 THEN 'completed' WHEN n %% 100 < 95 THEN 'failed'
        WHEN n %% 100 < 97 THEN 'cancelled' WHEN n %% 100 < 99 THEN 'pending' ELSE 'running' END) AS status) AS s,
    LATERAL (SELECT timestamptz '2024-01-01Z' + n * interval '1 minute' AS at) AS m
""".replace("n % ", "n %% ")

FILL_EVENTS = """
INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes)
SELECT id, seq, created_at, 'updated', status, status, 'anonymous', '{}' FROM scrape_jobs, generate_series(1, 3) AS seq
"""

# After the statistics are drawn: whether a sample happens to hold a tag would decide what is
# thought of its frequency.
TAG_ONE = """
UPDATE scrape_jobs SET metadata = '{"tags": ["rare"]}' WHERE id = (SELECT id FROM scrape_jobs LIMIT 1)
"""


class Database:
    """The filled database."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(make_url(url).set(drivername="postgresql+psycopg2"))
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def plan(self, sql: str, parameters: Mapping[str, Any], *, run: bool = False) -> str:
        options = "ANALYZE, BUFFERS, FORMAT JSON" if run else "FORMAT JSON"
        return json.dumps(self.rows(f"EXPLAIN ({options}) {sql}", parameters)[0][0], indent=1)

    def plans(
        self, statement: Statement, parameters: Mapping[str, Any], *, run: bool = False
    ) -> Iterator[str]:
        """Return the plan for these values, and the one for any values that a prepared statement
        may come to have.

        With `run` they are carried out, and undone, and tell how many rows were looked at.
        """
        values = {PARAMETER: None, **parameters}
        self.rows("BEGIN")
        yield self.plan(statement.sql, values, run=run)
        self.rows("ROLLBACK")
        self.rows(statement.prepare, {})
        self.rows("SET plan_cache_mode = force_generic_plan; BEGIN")
        yield self.plan(statement.execute, values, run=run)
        self.rows("ROLLBACK")
        self.rows("RESET plan_cache_mode")
        self.rows(f"DEALLOCATE {statement.prepared_name}")

    @contextmanager
    def as_other_than_the_owner(self) -> Iterator[None]:
        """Be somebody to whom row security applies, and who sees all."""
        role = f"other_{uuid.uuid4().hex}"
        self.rows(f"CREATE ROLE {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        self.rows(f"SET ROLE {role}; SET {SETTING} = 'all'")
        try:
            yield
        finally:
            self.rows(f"RESET ROLE; RESET {SETTING}; DROP OWNED BY {role}; DROP ROLE {role}")

    def plan_of_page(self, sort: str, filters: JobFilters, after: Sequence[Any] | None) -> str:
        """Return the plan of a page's query, as the engine sends it."""
        sent: list[tuple[str, Mapping[str, Any]]] = []
        with self._engine.connect() as connection:
            event.listen(
                connection,
                "before_cursor_execute",
                lambda _1, _2, sql, values, *_: sent.append((sql, values)),
            )
            with all_customers():
                connection.execute(page_query(filters, ORDERS[sort], after, 51))
        return self.plan(*sent[-1])

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


@pytest.fixture(scope="module")
def filled(server_url: str) -> Iterator[Database]:
    for url in new_database(server_url):
        migrate(url)
        database = Database(url)
        database.rows(FILL_JOBS, {"jobs": JOBS})
        database.rows(FILL_EVENTS)
        database.rows("ANALYZE scrape_jobs, job_events")
        database.rows(TAG_ONE)
        yield database
        database.close()


def nodes(plan: str) -> Iterator[dict[str, Any]]:
    """Return a plan's nodes, from the top."""
    waiting: list[dict[str, Any]] = [json.loads(plan)[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting.extend(node.get("Plans", []))
        yield node


def uses_indexes_alone(plan: str) -> bool:
    """Tell whether every look into a table of ours goes by an index, and there is one."""
    found = list(nodes(plan))
    scans = [
        node
        for node in found
        if node.get("Relation Name") in TABLES and "Scan" in node["Node Type"]
    ]
    return bool(scans) and not any(node["Node Type"] == "Seq Scan" for node in scans)


def assert_plans_use(plans: Sequence[str], index: str) -> None:
    for plan in plans:
        assert uses_indexes_alone(plan), plan
        assert index in {node.get("Index Name") for node in nodes(plan)}, plan


def rows_looked_at(plan: str) -> dict[str, float]:
    """Return by kind of scan how many rows of the tables were looked at, at most, of a plan that
    was carried out.

    What was planned for others and never begun does not count.
    """
    looked_at: dict[str, float] = {}
    for node in nodes(plan):
        if (
            "Scan" in node["Node Type"]
            and node.get("Relation Name") in TABLES
            and node["Actual Loops"]
        ):
            rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node[
                "Actual Loops"
            ]
            looked_at[node["Node Type"]] = max(looked_at.get(node["Node Type"], 0), rows)
    return looked_at


def any_job(database: Database) -> str:
    return str(database.rows("SELECT id FROM scrape_jobs LIMIT 1")[0][0])


def test_a_job_is_read_by_its_primary_key(filled: Database) -> None:
    for statement in (GET, LOCK_DOCUMENTS):
        assert_plans_use(list(filled.plans(statement, {"id": any_job(filled)})), "scrape_jobs_pkey")


def test_a_job_is_changed_by_its_primary_key(filled: Database) -> None:
    fields = ("error_message", "stats", "retry_count", "started_at", "completed_at")
    parameters = {
        "id": any_job(filled),
        "status": "running",
        "entered_from": ["pending"],
        **{f"sets_{field}": field == "stats" for field in fields},
        **dict.fromkeys(fields),
        "stats": '{"pagesProcessed": 1}',
        "metadata": '{"a": 1}',
        "merges_metadata": True,
        "versions": [1],
        "lease_token": None,
        "lease_expired": False,
        "must_change_status": False,
        "delay_seconds": None,
        "counts_retry": True,
        "resets_retries": False,
        "fixed_fields": '{"job_type": "domain_scrape"}',
        "queue_fields": '{"priority": 5}',
        **provenance_parameters("updated", Provenance(ANONYMOUS, "r")),
    }
    plans = [*filled.plans(CHANGE, parameters), *filled.plans(CHANGE_COMPARED, parameters)]
    assert_plans_use(plans, "scrape_jobs_pkey")
    for plan in plans:
        tables = [node for node in nodes(plan) if node.get("Relation Name") == "scrape_jobs"]
        assert {node["Node Type"] for node in tables} <= {"Index Scan", "ModifyTable"}


def test_all_that_is_recorded_of_a_job_is_read_by_its_primary_key(filled: Database) -> None:
    parameters = {
        "job_id": any_job(filled),
        "after_seq": 1,
        "at_first": False,
        "limit": SHOWN_BATCH,
    }
    assert_plans_use(list(filled.plans(EVENTS, parameters)), "job_events_pkey")


def test_a_history_is_read_by_its_primary_key_in_its_order(filled: Database) -> None:
    plans = list(filled.plans(HISTORY, {"job_id": any_job(filled), "after": 1, "limit": 51}))
    assert_plans_use(plans, "job_events_pkey")
    # A handful of one job's events may be sorted; they must not be looked for among others'.
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
    "nothing to find": JobFilters(domain="nobody.example", status=["running"]),
}
FIRST_OF: Mapping[str, str] = {
    "created_at": "scrape_jobs_created",
    "-created_at": "scrape_jobs_created",
    "priority": "scrape_jobs_priority_created",
    "updated_at": "scrape_jobs_updated",
    "-updated_at": "scrape_jobs_updated",
}


@pytest.mark.parametrize("sort", ORDERS)
def test_every_page_of_every_list_goes_by_an_index(filled: Database, sort: str) -> None:
    for (name, filters), after in itertools.product(FILTERS.items(), (None, POSITIONS[sort])):
        plan = filled.plan_of_page(sort, filters, after)
        assert uses_indexes_alone(plan), (name, after, plan)


@pytest.mark.parametrize("sort", ORDERS)
def test_a_list_without_filters_is_read_in_its_order_from_where_the_page_starts(
    filled: Database, sort: str
) -> None:
    for after in (None, POSITIONS[sort]):
        plan = filled.plan_of_page(sort, JobFilters(), after)
        assert_plans_use([plan], FIRST_OF[sort])
        assert not [
            node for node in nodes(plan) if node["Node Type"] in ("Sort", "Incremental Sort")
        ], plan
        (scan,) = (node for node in nodes(plan) if node.get("Relation Name") == "scrape_jobs")
        assert ("Index Cond" in scan) == (after is not None), plan
        assert "Filter" not in scan, plan


def test_a_rare_tag_is_found_by_the_index_of_tags(filled: Database) -> None:
    assert_plans_use(
        [filled.plan_of_page("-created_at", JobFilters(tag="rare"), None)], "scrape_jobs_tags"
    )


STEPS: Mapping[str, tuple[Statement, int, Mapping[str, Any]]] = {
    "events": (VERIFY_EVENTS, EVENTS_BATCH, {"after": MIDDLE, "after_seq": 2, "at_first": False}),
    "ends": (VERIFY_ENDS, JOBS_BATCH, {"after": MIDDLE, "at_first": False}),
    "prune": (
        REMOVE,
        PRUNE_BATCH,
        {"cutoff": MOMENT + timedelta(days=9), "after_time": MOMENT, "after_id": MIDDLE},
    ),
}


@pytest.mark.parametrize("walled", [False, True], ids=["as the owner", "behind row security"])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_through_all_jobs_or_events_looks_at_its_own_alone_and_by_index(
    filled: Database, name: str, walled: bool
) -> None:
    statement, limit, parameters = STEPS[name]
    with filled.as_other_than_the_owner() if walled else nullcontext():
        plans = list(filled.plans(statement, {**parameters, "limit": limit}, run=True))
    assert len(plans) == 2
    for plan in plans:
        looked_at = rows_looked_at(plan)
        assert looked_at
        assert "Seq Scan" not in looked_at, plan
        events_of_each = 3 if statement is REMOVE else 1
        assert max(looked_at.values()) <= limit * events_of_each + 1, plan
