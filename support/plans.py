"""Query plans of the service's statements: read, execute and check them."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import create_engine, event, make_url

from app.database import Statement
from app.database.tenant_scope import PARAMETER, SETTING, all_customers
from app.jobs.list_queries import ORDERS, JobFilters, page_query

TABLES = {"scrape_jobs", "job_events"}


class PlanDatabase:
    """A database with many jobs, and the plans of statements in it."""

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
        """Return the plan for these values, and the generic plan of the prepared statement.

        With `run` the statement is executed and rolled back, and the plans have the numbers of rows
        read.
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

    def scans(
        self, statement: Statement, parameters: Mapping[str, Any]
    ) -> dict[str, tuple[int, int]]:
        """Return the number of sequential scans and of index scans of each of our tables.

        The statement is executed and rolled back. Scans inside database functions count, too.
        """
        counts = "SELECT relname, seq_scan, coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables"
        self.rows("BEGIN; SET LOCAL plan_cache_mode = force_generic_plan")
        before = {name: numbers for name, *numbers in self.rows(counts)}
        self.rows(statement.text, {PARAMETER: None, **parameters})
        after = {name: numbers for name, *numbers in self.rows(counts)}
        self.rows("ROLLBACK")
        return {
            name: (after[name][0] - before[name][0], after[name][1] - before[name][1])
            for name in TABLES
        }

    @contextmanager
    def as_role_with_row_security(self) -> Iterator[None]:
        """Use a role to which row security applies, with the tenant scope of all customers."""
        role = f"other_{uuid.uuid4().hex}"
        self.rows(f"CREATE ROLE {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        self.rows(f"SET ROLE {role}; SET {SETTING} = 'all'")
        try:
            yield
        finally:
            self.rows(f"RESET ROLE; RESET {SETTING}; DROP OWNED BY {role}; DROP ROLE {role}")

    def plan_of_page(self, sort: str, filters: JobFilters, after: Sequence[Any] | None) -> str:
        """Return the plan of a list page, from the SQL that SQLAlchemy sends."""
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


def nodes(plan: str) -> Iterator[dict[str, Any]]:
    """Return the nodes of a plan, from the top."""
    waiting: list[dict[str, Any]] = [json.loads(plan)[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting.extend(node.get("Plans", []))
        yield node


def uses_only_indexes(plan: str) -> bool:
    """Return whether the plan scans our tables, and only by indexes."""
    found = list(nodes(plan))
    scans = [
        node
        for node in found
        if node.get("Relation Name") in TABLES and "Scan" in node["Node Type"]
    ]
    return bool(scans) and not any(node["Node Type"] == "Seq Scan" for node in scans)


def assert_plans_use(plans: Sequence[str], index: str) -> None:
    for plan in plans:
        assert uses_only_indexes(plan), plan
        assert index in {node.get("Index Name") for node in nodes(plan)}, plan


def rows_read(plan: str) -> dict[str, float]:
    """Return the maximum number of rows that a scan of our tables read, by the type of scan.

    The plan must have been executed. Scans that were planned but never executed do not count.
    """
    read_rows: dict[str, float] = {}
    for node in nodes(plan):
        if (
            "Scan" in node["Node Type"]
            and node.get("Relation Name") in TABLES
            and node["Actual Loops"]
        ):
            rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node[
                "Actual Loops"
            ]
            read_rows[node["Node Type"]] = max(read_rows.get(node["Node Type"], 0), rows)
    return read_rows
