"""Tenant isolation in time and locks, and the round trips of a request with a key."""

import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy.engine import make_url

from app import database
from app.api_keys import service as keys
from app.database import tenant_scope
from app.errors import JobNotFound
from app.events.provenance import ANONYMOUS, Provenance
from app.factory import create_app
from app.jobs import leases
from app.jobs import service as jobs
from app.jobs.change_request import Preconditions, Retry
from support.round_trips import CountingProxy
from support.tenants import (
    HOOK,
    HOOK_CALLS,
    HOOKS,
    JOBS,
    MERGE,
    NOWHERE,
    KeyHolder,
    SharedService,
    dispose,
    locks_held,
    settings,
)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_foreign_and_missing_jobs_take_equal_time(tenants: SharedService, method: str) -> None:
    foreign = [tenants.b.create(metadata={"a": "x" * 20_000})["id"] for _ in range(3)]
    body = {"status": "running"} if method == "PUT" else None
    for _ in range(4):  # a real difference shows in each round, a busy machine does not
        ratio = _foreign_to_missing(tenants, method, foreign, body)
        if 0.8 < ratio < 1.25:
            return
    raise AssertionError(
        f"a foreign job takes {ratio:.2f} times as long as one that does not exist"
    )


def _foreign_to_missing(
    tenants: SharedService, method: str, foreign: list[str], body: Any
) -> float:
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(440):
        exists = bool(number & 1)
        job = foreign[number % 3] if exists else str(uuid.uuid4())
        started = time.perf_counter()
        answer = tenants.a.ask(method, f"{JOBS}/{job}", body)
        if number >= 40:  # the first requests warm the caches
            seconds[exists].append(time.perf_counter() - started)
        assert answer.status_code == 404
    foreign_seconds, missing_seconds = (
        statistics.median(seconds[exists]) for exists in (True, False)
    )
    return foreign_seconds / missing_seconds


def requests_about(job: str) -> list[tuple[str, str, Any, dict[str, str]]]:
    """Return the requests that could change or lock a job."""
    path, token = f"{JOBS}/{job}", {"X_Lease_Token": "t"}
    return [
        ("PUT", path, {"status": "running"}, {}),
        ("PATCH", path, {"stats": {"a": 1}}, {"Content_Type": MERGE}),
        ("DELETE", path, None, {}),
        ("POST", f"{path}/retry", {}, {"Idempotency_Key": uuid.uuid4().hex}),
        *(("POST", f"{path}/{what}", {}, token) for what in ("retry", "release", "heartbeat")),
        *(("GET", f"{path}{what}", None, {}) for what in ("", "/history", "/queue")),
    ]


def test_a_request_does_not_wait_for_foreign_job(tenants: SharedService) -> None:
    job = tenants.b.create()["id"]
    with locks_held(tenants.url, f"SELECT 1 FROM scrape_jobs WHERE id = '{job}' FOR UPDATE"):
        for method, path, body, headers in requests_about(job):
            answer = tenants.a.ask(method, path, body, **headers)
            assert answer.status_code == 404, (
                method,
                path,
                answer.text,
            )  # a request that waits gets a lock timeout
        assert (
            tenants.b.ask("PUT", f"{JOBS}/{job}", {"stats": {}}).get_json()["details"]
            == "Lock timeout"
        )


def test_a_request_does_not_wait_for_foreign_webhook(
    tenants: SharedService,
) -> None:
    hook = tenants.b.data("POST", HOOKS, HOOK)["id"]
    delivery = tenants.b.data("POST", f"{HOOKS}/{hook}/test")["id"]
    own = tenants.a.data("POST", HOOKS, HOOK)["id"]
    locks = [
        f"SELECT 1 FROM webhook_endpoints WHERE id = '{hook}' FOR UPDATE",
        f"SELECT 1 FROM webhook_deliveries WHERE id = '{delivery}' FOR UPDATE",
    ]
    with locks_held(tenants.url, *locks):
        for call in HOOK_CALLS:
            answer = tenants.a.ask(call.method, f"{HOOKS}/{hook}{call.path}", call.json)
            assert answer.status_code == 404, (call, answer.text)
        for through in (hook, own):
            answer = tenants.a.ask("POST", f"{HOOKS}/{through}/deliveries/{delivery}/redeliver")
            assert answer.status_code == 404, answer.text


def test_a_refused_change_does_not_lock_the_job(tenants: SharedService) -> None:
    job = tenants.b.create()["id"]
    foreign, provenance, token = (
        uuid.UUID(job),
        Provenance(ANONYMOUS, None),
        Preconditions(lease_token="t"),
    )
    ways: list[Callable[[], object]] = [
        lambda: jobs.update(foreign, {"stats": {}}, Preconditions(), provenance),
        lambda: jobs.patch(foreign, {"stats": {}}, Preconditions(), provenance),
        lambda: jobs.cancel(foreign, "", Preconditions(), provenance),
        lambda: leases.retry(foreign, {}, Retry(), Preconditions(), provenance),
        lambda: leases.give_up(foreign, None, Retry(), token, provenance),
        lambda: leases.release(foreign, token, provenance),
        lambda: leases.heartbeat(foreign, "t", provenance),
    ]
    with (
        tenants.app.app_context(),
        tenant_scope.tenant_scope(uuid.UUID(tenants.a_id)),
        database.transaction(),
    ):
        for way in ways:
            with pytest.raises(JobNotFound):
                way()
        tenants.sql("SELECT 1 FROM scrape_jobs WHERE id = %s FOR UPDATE NOWAIT", job)
    # Check of the test itself: a change of an own job holds the lock until the end.
    with (
        tenants.app.app_context(),
        tenant_scope.tenant_scope(uuid.UUID(tenants.b_id)),
        database.transaction(),
    ):
        ways[0]()
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            tenants.sql("SELECT 1 FROM scrape_jobs WHERE id = %s FOR UPDATE NOWAIT", job)


def test_a_cached_key_costs_no_round_trip(
    tenants: SharedService,
) -> None:
    proxy = CountingProxy(make_url(tenants.url))
    app = create_app(settings(proxy.url))
    a, foreign = KeyHolder(app, tenants.a.key), tenants.b.create()["id"]
    try:
        own = f"{JOBS}/{a.create()['id']}"
        for job, status in ((own, 200), (f"{JOBS}/{foreign}", 404), (f"{JOBS}/{NOWHERE}", 404)):
            for method, body in (("GET", None), ("PUT", {"stats": {"a": 1}})):
                for _ in range(3):  # the first executions prepare the statement
                    proxy.round_trips.clear()
                    assert a.ask(method, job, body).status_code == status
                (turn,) = (turn for turn in proxy.round_trips if "get_api_key" not in turn)
                assert not turn.startswith(("BEGIN", "COMMIT", "ROLLBACK", "PREPARE"))
        proxy.round_trips.clear()
        started = time.monotonic()
        for _ in range(50):
            assert a.ask("GET", own).status_code == 200
        looks = [turn for turn in proxy.round_trips if "get_api_key" in turn]
        assert len(looks) <= 1 + (time.monotonic() - started) / keys.CACHE_SECONDS
        assert len(proxy.round_trips) == 50 + len(looks)
    finally:
        dispose(app)
        proxy.close()
