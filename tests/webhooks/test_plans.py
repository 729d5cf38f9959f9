"""The query plans of statements about deliveries, on one large table.

At 200,000 deliveries the plans are those of a million: each statement reads about as many rows as
it returns, by an index.
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from app.database import Statement
from app.database.tenant_scope import PARAMETER, SETTING
from app.webhooks.delivery_queries import (
    COUNT_PENDING,
    DELETE_DELIVERIES,
    DELIVERY_STATUSES,
    LIST_DELIVERIES,
    MAX_COUNTED,
    REDELIVER,
    REDELIVER_FAILED,
    REPLAY,
)
from app.webhooks.dispatch_queries import CLAIM, RESUME
from app.webhooks.fan_out import FAN_OUT
from app.webhooks.retention import COUNT_REMOVABLE, ENDPOINTS_WITH_DELIVERIES, REMOVE
from support.webhooks import WebhookDatabase, new_webhook_database

DELIVERIES = 200_000
TABLES = {"webhook_deliveries", "job_events", "outbox", "scrape_jobs"}
STEP = 100
NIL, LAST = str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))


@pytest.fixture(scope="module")
def webhook_database(server_url: str) -> Iterator[WebhookDatabase]:
    for webhook_database in new_webhook_database(server_url):
        webhook_database.rows("SET jit = off; SET random_page_cost = 1.1")
        busy, *_ = webhook_database.endpoints(50)
        webhook_database.deliveries(busy, "delivered", DELIVERIES // 2)
        webhook_database.deliveries(busy, "pending", DELIVERIES // 4)
        webhook_database.deliveries(busy, "failed", DELIVERIES // 4)
        webhook_database.changes(20_000, 5_000)
        webhook_database.rows("ANALYZE")
        yield webhook_database


@pytest.fixture(scope="module")
def busy(webhook_database: WebhookDatabase) -> str:
    """The endpoint with all deliveries."""
    return str(webhook_database.rows("SELECT endpoint_id FROM webhook_deliveries LIMIT 1")[0][0])


@contextmanager
def behind_row_security(webhook_database: WebhookDatabase) -> Iterator[None]:
    """Use a role that row security applies to, with the tenant scope of all customers."""
    role = f"other_{uuid.uuid4().hex}"
    webhook_database.rows(f"CREATE ROLE {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    webhook_database.rows(f"SET ROLE {role}; SET {SETTING} = 'all'")
    try:
        yield
    finally:
        webhook_database.rows(
            f"RESET ROLE; RESET {SETTING}; DROP OWNED BY {role}; DROP ROLE {role}"
        )


def rows_read_by(
    webhook_database: WebhookDatabase, statement: Statement, parameters: Mapping[str, Any]
) -> dict[str, float]:
    """Run a prepared statement, roll it back, and return the rows that each scan has read."""
    webhook_database.rows("SET plan_cache_mode = force_generic_plan; BEGIN")
    try:
        webhook_database.rows(statement.prepare)
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.execute}"
        ((plan,),) = webhook_database.rows(explained, **{PARAMETER: None, **parameters})
    finally:
        webhook_database.rows("ROLLBACK; DEALLOCATE ALL; RESET plan_cache_mode")
    waiting, found = [plan[0]["Plan"]], dict[str, float]()
    while waiting:
        node = waiting.pop()
        waiting.extend(node.get("Plans", []))
        if (
            "Scan" in node["Node Type"]
            and node.get("Relation Name") in TABLES
            and node["Actual Loops"]
        ):
            rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node[
                "Actual Loops"
            ]
            name = f"{node['Node Type']} {node['Relation Name']} {node.get('Index Name', '')}"
            found[name] = max(found.get(name, 0), rows)
    assert found, json.dumps(plan)
    return found


def cases(endpoint: str) -> dict[str, tuple[Statement, dict[str, Any], int]]:
    """Return statements with their parameters, and the number of rows each may read of a table."""
    at = {"before_at": "2100-01-01Z", "before_id": LAST, "limit": STEP, "endpoint_id": endpoint}
    lists = {
        f"list {name}": (LIST_DELIVERIES, {**at, "statuses": statuses}, 3 * STEP)
        for name, statuses in {
            "all": DELIVERY_STATUSES,
            **{status: [status] for status in DELIVERY_STATUSES},
        }.items()
    }
    middle = {**at, "before_at": "2024-01-01Z", "statuses": DELIVERY_STATUSES}
    period = {"after_at": "2024-01-01Z", "after_id": NIL, "after_seq": 0, "until": "2100-01-01Z"}
    retention = {
        "endpoint_id": endpoint,
        "before": "2100-01-01Z",
        "after_at": "-infinity",
        "after_id": NIL,
    }
    claim = {
        "claim": NIL, "endpoints": "{}", "capacities": [], "held": [], "trusted": [], "capacity": 4,
        "untrusted": 4, "limit": 64, "lease_seconds": 25, "postpone": 30, "max_postpone": 3600,
        "max_postponed": 500,
    }  # fmt: skip
    fan_out = {"limit": STEP, "customers": 50, "from_customer": NIL, "postpone": 30}
    return {
        **lists,
        "list from the end": (LIST_DELIVERIES, middle, STEP),
        "redeliver one": (REDELIVER, {"endpoint_id": endpoint, "id": NIL}, 1),
        "redeliver": (
            REDELIVER_FAILED,
            {"endpoint_id": endpoint, "since": "2024-01-01Z", "limit": STEP},
            STEP,
        ),
        "replay": (REPLAY, {"endpoint_id": endpoint, "limit": STEP, **period}, 2 * STEP),
        "drop": (DELETE_DELIVERIES, {"endpoint_id": endpoint, "limit": STEP}, STEP),
        "retention": (
            REMOVE,
            {**retention, "status": "failed", "with_job": False, "limit": STEP},
            STEP,
        ),
        "count removable": (
            COUNT_REMOVABLE,
            {**retention, "status": "pending", "with_job": True, "limit": STEP},
            STEP,
        ),
        "endpoints": (ENDPOINTS_WITH_DELIVERIES, {}, 2),
        "count pending": (COUNT_PENDING, {}, MAX_COUNTED),
        "claim": (CLAIM, claim, 64),
        "resume": (RESUME, {"job_ids": f"{{{NIL}}}", "endpoint_ids": f"{{{endpoint}}}"}, 1),
        "fan-out": (FAN_OUT, fan_out, 2 * STEP),
    }


@pytest.mark.parametrize(
    "behind_security", [False, True], ids=["as the owner", "behind row security"]
)
@pytest.mark.parametrize("name", cases(NIL))
def test_a_statement_reads_only_its_rows(
    webhook_database: WebhookDatabase, busy: str, name: str, behind_security: bool
) -> None:
    statement, parameters, most = cases(busy)[name]
    if behind_security:
        with behind_row_security(webhook_database):
            rows_read = rows_read_by(webhook_database, statement, parameters)
    else:
        rows_read = rows_read_by(webhook_database, statement, parameters)
    if statement is not COUNT_PENDING:  # it counts up to a bound
        assert not [scan for scan in rows_read if scan.startswith("Seq Scan")], rows_read
    assert max(rows_read.values()) <= most + 1, rows_read


@pytest.mark.timed
def test_pending_deliveries_are_counted_in_bounded_time(webhook_database: WebhookDatabase) -> None:
    started = time.monotonic()
    ((number, oldest),) = webhook_database.rows(COUNT_PENDING.sql)
    assert time.monotonic() - started < 2
    assert number == DELIVERIES // 4 + 20_000
    assert 50 < oldest < 1000
