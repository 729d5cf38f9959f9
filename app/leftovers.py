"""Rows that no job's removal takes along: deliveries without a job or an endpoint, and old
idempotency keys."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app import database
from app.database import Batches, Statement, rows_of
from app.webhooks.delivery_queries import STATUSES

BATCH = 2000

ENDPOINTS = Statement(
    "endpoints_with_deliveries",
    # Promises: the endpoints that have deliveries, and whether they are there and active; by an
    # index that holds each endpoint's together, so that the number of deliveries does not matter.
    """
    WITH RECURSIVE endpoint AS (
        (SELECT d.endpoint_id AS id FROM webhook_deliveries d ORDER BY d.endpoint_id LIMIT 1)
        UNION ALL
        SELECT n.endpoint_id FROM endpoint e CROSS JOIN LATERAL (SELECT d.endpoint_id FROM webhook_deliveries d
            WHERE d.endpoint_id > e.id ORDER BY d.endpoint_id LIMIT 1) AS n
    )
    SELECT e.id, w.id IS NOT NULL, coalesce(w.active, false)
    FROM endpoint e LEFT JOIN webhook_endpoints w ON w.id = e.id
    """,
)

_CHOSEN = """
    step AS MATERIALIZED (
        SELECT d.job_id, d.seq, d.created_at, d.id FROM webhook_deliveries d
        WHERE d.endpoint_id = %(endpoint_id)s::uuid AND d.status = %(status)s::text
            AND d.created_at < %(before)s::timestamptz
            AND (d.created_at, d.id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
        ORDER BY d.created_at, d.id LIMIT (SELECT %(limit)s::int)
    ), chosen AS MATERIALIZED (
        SELECT s.* FROM step s
        -- No NOT EXISTS, which may be planned as a look at all jobs.
        WHERE %(with_job)s::bool OR (SELECT j.id FROM scrape_jobs j WHERE j.id = s.job_id) IS NULL
    )"""

_LAST = """(SELECT created_at FROM step ORDER BY created_at DESC, id DESC LIMIT 1),
    (SELECT id FROM step ORDER BY created_at DESC, id DESC LIMIT 1)"""

LOOK = Statement(
    "look_for_leftover_deliveries",
    # Promises: how many of the next `limit` deliveries could be removed, and where they end.
    f"WITH {_CHOSEN} SELECT (SELECT count(*) FROM chosen), {_LAST}",
)

REMOVE = Statement(
    "remove_leftover_deliveries",
    # Promises: of the next `limit` deliveries to the endpoint that have the status and are older
    # than `before`, those without a job (with `with_job`, all) are gone; how many, and where they
    # end.
    f"""
    WITH {_CHOSEN}, gone AS (
        DELETE FROM webhook_deliveries d USING {rows_of("chosen", "job_id", "seq")} AS c (job_id, seq)
        WHERE d.job_id = c.job_id AND d.seq = c.seq AND d.endpoint_id = %(endpoint_id)s::uuid
            AND (d.status = %(status)s::text) IS TRUE
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM gone), {_LAST}
    """,
)

FORGET = Statement(
    "remove_expired_keys",
    # Promises: at most `limit` idempotency keys are gone that are not valid any more.
    """
    WITH gone AS (
        DELETE FROM idempotency_keys WHERE (caller, key) IN (
            SELECT caller, key FROM idempotency_keys WHERE created_at < now() - interval '24 hours'
            ORDER BY created_at LIMIT %(limit)s::int)
        RETURNING 1
    )
    SELECT count(*) FROM gone
    """,
)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """An endpoint, which may be deleted, that deliveries exist for."""

    id: UUID
    exists: bool
    is_active: bool


def endpoints() -> Sequence[_Endpoint]:
    """Return the endpoints that deliveries exist for. Raises DatabaseFailure."""
    return [_Endpoint(*row) for row in database.run(ENDPOINTS, {})]


def prune_unsendable(cutoff: datetime, *, dry_run: bool) -> int:
    """Remove the deliveries to deleted endpoints, and older than `cutoff` those that inactive ones
    are still owed.

    Nothing sends them, and their jobs stay for as long as they are there. Returns how many there
    were. Raises DatabaseFailure.
    """
    removed = 0
    for endpoint in endpoints():
        if not endpoint.exists:
            removed += sum(
                _prune(endpoint, status, "infinity", True, dry_run) for status in STATUSES
            )
        elif not endpoint.is_active:
            removed += _prune(endpoint, "pending", cutoff.isoformat(), True, dry_run)
    return removed


def prune_jobless(cutoff: datetime, *, dry_run: bool) -> int:
    """Remove deliveries older than `cutoff` that have no job, which tests have not; return how many
    there were.

    Raises DatabaseFailure.
    """
    return sum(
        _prune(endpoint, status, cutoff.isoformat(), False, dry_run)
        for endpoint in endpoints()
        if endpoint.exists
        for status in STATUSES
    )


def prune_keys() -> int:
    """Remove expired idempotency keys and return how many there were. Raises DatabaseFailure."""
    batches, removed = Batches(FORGET, BATCH), 0
    while number := batches.run({})[0][0]:
        removed += number
    return removed


def _prune(endpoint: _Endpoint, status: str, before: str, with_job: bool, dry_run: bool) -> int:
    batches = Batches(LOOK if dry_run else REMOVE, BATCH)
    return sum(
        _steps(
            batches, {"endpoint_id": str(endpoint.id), "status": status, "before": before}, with_job
        )
    )


def _steps(batches: Batches, parameters: dict[str, str], with_job: bool) -> Iterator[int]:
    after_at, after_id = "-infinity", str(UUID(int=0))
    while True:
        position = {"after_at": after_at, "after_id": after_id}
        number, last_at, last_id = batches.run({**parameters, **position, "with_job": with_job})[0]
        if last_at is None:
            return
        yield number
        after_at, after_id = last_at.isoformat(), str(last_id)
