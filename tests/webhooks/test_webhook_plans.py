"""The plans of the statements that read lists of deliveries, on a large table that all tests share.

At 200,000 deliveries the plans are those of a million: each looks at as many rows as it returns, by
an index.
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from app.leftovers import ENDPOINTS, LOOK, REMOVE

from app.database import Statement
from app.database.tenant_scope import PARAMETER, SETTING
from app.webhooks.delivery_queries import (
    DROP_DELIVERIES,
    LIST_DELIVERIES,
    MOST_COUNTED,
    OWED,
    REDELIVER,
    REDELIVER_FAILED,
    REPLAY,
    STATUSES,
)
from app.webhooks.dispatch_queries import CLAIM, RESUME
from app.webhooks.fan_out import FAN_OUT
from support.webhooks import Ground, new_ground

DELIVERIES = 200_000
TABLES = {"webhook_deliveries", "job_events", "outbox", "scrape_jobs"}
STEP = 100
NIL, LAST = str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))


@pytest.fixture(scope="module")
def ground(server_url: str) -> Iterator[Ground]:
    for ground in new_ground(server_url):
        ground.rows("SET jit = off; SET random_page_cost = 1.1")
        busy, *_ = ground.endpoints(50)
        ground.deliveries(busy, "delivered", DELIVERIES // 2)
        ground.deliveries(busy, "pending", DELIVERIES // 4)
        ground.deliveries(busy, "failed", DELIVERIES // 4)
        ground.changes(20_000, 5_000)
        ground.rows("ANALYZE")
        yield ground


@pytest.fixture(scope="module")
def busy(ground: Ground) -> str:
    """The endpoint with all deliveries."""
    return str(ground.rows("SELECT endpoint_id FROM webhook_deliveries LIMIT 1")[0][0])


@contextmanager
def behind_row_security(ground: Ground) -> Iterator[None]:
    """Be somebody to whom row security applies, and who sees all."""
    role = f"other_{uuid.uuid4().hex}"
    ground.rows(f"CREATE ROLE {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    ground.rows(f"SET ROLE {role}; SET {SETTING} = 'all'")
    try:
        yield
    finally:
        ground.rows(f"RESET ROLE; RESET {SETTING}; DROP OWNED BY {role}; DROP ROLE {role}")


def rows_looked_at(
    ground: Ground, statement: Statement, parameters: Mapping[str, Any]
) -> dict[str, float]:
    """Run a prepared statement, undo it, and return how many rows each scan of a large table looked
    at."""
    ground.rows("SET plan_cache_mode = force_generic_plan; BEGIN")
    try:
        ground.rows(statement.prepare)
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.execute}"
        ((plan,),) = ground.rows(explained, **{PARAMETER: None, **parameters})
    finally:
        ground.rows("ROLLBACK; DEALLOCATE ALL; RESET plan_cache_mode")
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
    """Return statements with their parameters, and how many rows of a table they may look at."""
    at = {"before_at": "2100-01-01Z", "before_id": LAST, "limit": STEP, "endpoint_id": endpoint}
    lists = {
        f"list {name}": (LIST_DELIVERIES, {**at, "statuses": statuses}, 3 * STEP)
        for name, statuses in {"all": STATUSES, **{status: [status] for status in STATUSES}}.items()
    }
    middle = {**at, "before_at": "2024-01-01Z", "statuses": STATUSES}
    period = {"after_at": "2024-01-01Z", "after_id": NIL, "after_seq": 0, "until": "2100-01-01Z"}
    leftovers = {
        "endpoint_id": endpoint,
        "before": "2100-01-01Z",
        "after_at": "-infinity",
        "after_id": NIL,
    }
    claim = {
        "claim": NIL, "endpoints": "{}", "rooms": [], "held": [], "trusted": [], "room": 4, "untrusted": 4, "limit": 64,
        "lease_seconds": 25, "put_off": 30, "longest_put_off": 3600, "most_put_off": 500,
    }  # fmt: skip
    fan_out = {"limit": STEP, "customers": 50, "from_customer": NIL, "put_off": 30}
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
        "drop": (DROP_DELIVERIES, {"endpoint_id": endpoint, "limit": STEP}, STEP),
        "leftovers": (
            REMOVE,
            {**leftovers, "status": "failed", "with_job": False, "limit": STEP},
            STEP,
        ),
        "look": (LOOK, {**leftovers, "status": "pending", "with_job": True, "limit": STEP}, STEP),
        "endpoints": (ENDPOINTS, {}, 2),
        "owed": (OWED, {}, MOST_COUNTED),
        "claim": (CLAIM, claim, 64),
        "resume": (RESUME, {"job_ids": f"{{{NIL}}}", "endpoint_ids": f"{{{endpoint}}}"}, 1),
        "fan-out": (FAN_OUT, fan_out, 2 * STEP),
    }


@pytest.mark.parametrize("walled", [False, True], ids=["as the owner", "behind row security"])
@pytest.mark.parametrize("name", cases(NIL))
def test_a_step_looks_at_its_own_rows_by_index(
    ground: Ground, busy: str, name: str, walled: bool
) -> None:
    statement, parameters, most = cases(busy)[name]
    if walled:
        with behind_row_security(ground):
            looked_at = rows_looked_at(ground, statement, parameters)
    else:
        looked_at = rows_looked_at(ground, statement, parameters)
    if statement is not OWED:  # which counts up to a bound
        assert not [scan for scan in looked_at if scan.startswith("Seq Scan")], looked_at
    assert max(looked_at.values()) <= most + 1, looked_at


def test_what_is_owed_is_told_in_bounded_time(ground: Ground) -> None:
    started = time.monotonic()
    ((number, oldest),) = ground.rows(OWED.sql)
    assert time.monotonic() - started < 2
    assert number == DELIVERIES // 4 + 20_000
    assert 50 < oldest < 1000
