"""The retention of deliveries that are not deleted with a job: those without job or endpoint."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app import database
from app.database import Batches, Statement, rows_of
from app.webhooks.delivery_queries import DELIVERY_STATUSES

BATCH_ROWS = 2000

ENDPOINTS_WITH_DELIVERIES = Statement(
    "endpoints_with_deliveries",
    promise="The ids of all endpoints with deliveries, whether each exists, and whether it is"
    " active. One index lookup finds each endpoint: the number of deliveries does not"
    " matter.",
    sql="""
    WITH RECURSIVE endpoint AS (
        (SELECT d.endpoint_id AS id FROM webhook_deliveries d ORDER BY d.endpoint_id LIMIT 1)
        UNION ALL
        SELECT n.endpoint_id FROM endpoint e CROSS JOIN LATERAL (
            SELECT d.endpoint_id FROM webhook_deliveries d
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
        -- Not NOT EXISTS, which the planner may turn into a scan of all jobs.
        WHERE %(with_job)s::bool OR (SELECT j.id FROM scrape_jobs j WHERE j.id = s.job_id) IS NULL
    )"""
"""SQL for the CTEs ``step``, the next deliveries, and ``chosen``, those of them to delete."""

_LAST_POSITION = """(SELECT created_at FROM step ORDER BY created_at DESC, id DESC LIMIT 1),
    (SELECT id FROM step ORDER BY created_at DESC, id DESC LIMIT 1)"""

COUNT_REMOVABLE = Statement(
    "look_for_leftover_deliveries",
    promise="The number of the next `limit` deliveries that REMOVE would delete, and their last"
    " position.",
    sql=f"WITH {_CHOSEN} SELECT (SELECT count(*) FROM chosen), {_LAST_POSITION}",
)

REMOVE = Statement(
    "remove_leftover_deliveries",
    promise="Of the next `limit` deliveries to the endpoint with the status that are older than"
    " `before`, those without a job are deleted; with `with_job`, all of them. The row has"
    " their number and the last position.",
    sql=f"""
    WITH {_CHOSEN}, deleted AS (
        DELETE FROM webhook_deliveries d
        USING {rows_of("chosen", "job_id", "seq")} AS c (job_id, seq)
        WHERE d.job_id = c.job_id AND d.seq = c.seq AND d.endpoint_id = %(endpoint_id)s::uuid
            AND (d.status = %(status)s::text) IS TRUE
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM deleted), {_LAST_POSITION}
    """,
)


@dataclass(frozen=True, slots=True)
class EndpointWithDeliveries:
    """An endpoint, perhaps a deleted one, with deliveries."""

    id: UUID
    exists: bool
    is_active: bool


def endpoints_with_deliveries() -> Sequence[EndpointWithDeliveries]:
    """Return all endpoints with deliveries, deleted ones included. Raises DatabaseFailure."""
    return [EndpointWithDeliveries(*row) for row in database.run(ENDPOINTS_WITH_DELIVERIES, {})]


def prune_unsendable(cutoff: datetime, *, dry_run: bool) -> int:
    """Delete the deliveries to deleted endpoints, and old pending ones to inactive endpoints.

    These are never sent, but as long as they exist their jobs are kept.

    Args:
        cutoff: Pending deliveries to inactive endpoints are deleted if they are older.
        dry_run: Only count the deliveries.

    Returns:
        The number of deliveries.

    Raises:
        DatabaseFailure: The deliveries deleted so far stay deleted.
    """
    removed = 0
    for endpoint in endpoints_with_deliveries():
        if not endpoint.exists:
            for status in DELIVERY_STATUSES:
                removed += _prune(endpoint, status, "infinity", True, dry_run)
        elif not endpoint.is_active:
            removed += _prune(endpoint, "pending", cutoff.isoformat(), True, dry_run)
    return removed


def prune_jobless(cutoff: datetime, *, dry_run: bool) -> int:
    """Delete deliveries without a job, such as test messages, that are older than `cutoff`.

    Args:
        cutoff: The time before which the deliveries were created.
        dry_run: Only count the deliveries.

    Returns:
        The number of deliveries.

    Raises:
        DatabaseFailure: The deliveries deleted so far stay deleted.
    """
    return sum(
        _prune(endpoint, status, cutoff.isoformat(), False, dry_run)
        for endpoint in endpoints_with_deliveries()
        if endpoint.exists
        for status in DELIVERY_STATUSES
    )


def _prune(
    endpoint: EndpointWithDeliveries, status: str, before: str, with_job: bool, dry_run: bool
) -> int:
    """Delete deliveries of one status, in batches; return their number."""
    batches = Batches(COUNT_REMOVABLE if dry_run else REMOVE, BATCH_ROWS)
    parameters = {
        "endpoint_id": str(endpoint.id),
        "status": status,
        "before": before,
        "with_job": with_job,
    }
    return sum(_batch_counts(batches, parameters))


def _batch_counts(batches: Batches, parameters: Mapping[str, Any]) -> Iterator[int]:
    after_at, after_id = "-infinity", str(UUID(int=0))
    while True:
        position = {"after_at": after_at, "after_id": after_id}
        number, last_at, last_id = batches.run({**parameters, **position})[0]
        if last_at is None:
            return
        yield number
        after_at, after_id = last_at.isoformat(), str(last_id)
