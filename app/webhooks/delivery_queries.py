"""The SQL of the deliveries: list, count, redeliver, replay and delete them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, rows_of, timestamp
from app.database.page_size import PageRows, fit_page, is_cut
from app.database.tenant_scope import visible_rows
from app.webhooks.messages import body, wants, webhook_id

DELIVERY_STATUSES = ["pending", "delivered", "failed"]
"""pending: there will be an attempt; delivered: the response was a 2xx; failed: no attempt left."""


def _delivery_json(delivery: str) -> str:
    """Return SQL for a delivery's JSON text."""
    return f"""(SELECT row_to_json(r)::text FROM (SELECT
        {delivery}.id, {delivery}.endpoint_id AS webhook_id, {delivery}.job_id,
        {delivery}.seq AS event_id, {delivery}.status, {delivery}.body::json AS body,
        {delivery}.tries,
        CASE WHEN {delivery}.status = 'pending' THEN {timestamp(f"{delivery}.next_try_at")} END
            AS next_try_at,
        {timestamp(f"{delivery}.created_at")} AS created_at,
        {timestamp(f"{delivery}.finished_at")} AS finished_at) AS r)"""


LIST_DELIVERIES = Statement(
    "list_webhook_deliveries",
    promise="At most `limit` deliveries of one endpoint with one of `statuses`, newest first, that"
    " come before (`before_at`, `before_id`). Of each status at most `limit` are read, by"
    " the index that has this order. If they do not fit a page there are fewer, and their"
    " number beside each.",
    sql=fit_page(
        f"""SELECT d.created_at, d.id, {_delivery_json("d")} AS json FROM (
            SELECT d.* FROM unnest(%(statuses)s::text[]) AS s (status) CROSS JOIN LATERAL (
                SELECT d.* FROM webhook_deliveries d
                WHERE d.endpoint_id = %(endpoint_id)s::uuid AND d.status = s.status
                    AND (d.created_at, d.id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
                ORDER BY d.created_at DESC, d.id DESC LIMIT (SELECT %(limit)s::int)
            ) AS d
            ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s::int
        ) AS d""",
        "created_at DESC, id DESC",
    ),
)

MAX_OF_JOB = 200
"""Deliveries of one job that a list shows."""

LIST_JOB_DELIVERIES = Statement(
    "list_job_deliveries",
    promise="The deliveries of one job to endpoints that the caller sees, newest event first, at"
    " most MAX_OF_JOB, by the primary key. Fewer if they do not fit a page.",
    sql=fit_page(
        f"""SELECT d.seq, d.id, {_delivery_json("d")} AS json FROM webhook_deliveries d
        WHERE d.job_id = %(job_id)s::uuid
            AND EXISTS (SELECT FROM scrape_jobs j WHERE j.id = d.job_id AND {visible_rows("j")})
            AND EXISTS (
                SELECT FROM webhook_endpoints w WHERE w.id = d.endpoint_id AND {visible_rows("w")})
        ORDER BY d.seq DESC, d.id LIMIT {MAX_OF_JOB}""",
        "seq DESC, id",
    ),
)

MAX_COUNTED = 100_000
"""Rows that the metrics count; above that they show the estimate of PostgreSQL."""

COUNT_PENDING = Statement(
    "count_pending_webhooks",
    promise="The number of pending deliveries plus the number of status changes before their"
    " fan-out, each exact up to MAX_COUNTED; and the seconds that the oldest of these"
    " changes has waited. The time does not grow with the tables.",
    sql=f"""
    WITH RECURSIVE customer AS (
        (SELECT o.customer AS id, o.created_at FROM outbox o
            ORDER BY o.customer, o.created_at LIMIT 1)
        UNION ALL
        SELECT n.* FROM customer c CROSS JOIN LATERAL (
            SELECT o.customer, o.created_at FROM outbox o
            WHERE o.customer > c.id ORDER BY o.customer, o.created_at LIMIT 1) AS n
    ), counted AS (
        SELECT
            (SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE status = 'pending'
                LIMIT {MAX_COUNTED}) AS d) AS deliveries,
            (SELECT count(*) FROM (SELECT FROM outbox LIMIT {MAX_COUNTED}) AS o) AS changes
    ), estimated AS (
        SELECT
            (SELECT reltuples FROM pg_class
                WHERE oid = 'webhook_deliveries_order'::regclass) AS deliveries,
            (SELECT reltuples FROM pg_class WHERE oid = 'outbox'::regclass) AS changes
    )
    SELECT
        (
            CASE WHEN c.deliveries < {MAX_COUNTED} THEN c.deliveries
                ELSE greatest(c.deliveries, e.deliveries) END
            + CASE WHEN c.changes < {MAX_COUNTED} THEN c.changes
                ELSE greatest(c.changes, e.changes) END
        )::bigint,
        coalesce(extract(epoch FROM now() - (
            SELECT min(created_at) FROM (SELECT * FROM customer LIMIT 10000) AS o)), 0)::float8
    FROM counted c, estimated e
    """,
)

REDELIVER = Statement(
    "redeliver_webhook",
    promise="The delivery is due now and keeps its recorded attempts. If an attempt is in"
    " progress, the delivery stays claimed.",
    sql=f"""
    UPDATE webhook_deliveries d SET
        status = 'pending', failures = 0, finished_at = NULL,
        next_try_at = CASE WHEN d.claim IS NULL THEN now() ELSE d.next_try_at END
    WHERE d.id = %(id)s::uuid AND d.endpoint_id = %(endpoint_id)s::uuid
    RETURNING {_delivery_json("d")}
    """,
)

REDELIVER_FAILED = Statement(
    "redeliver_failed_webhooks",
    promise="Of the endpoint's deliveries that have failed since `since`, the next at most `limit`"
    " are due now. The row has their number, whether there may be more, and the time at"
    " which the last of them failed.",
    sql=f"""
    WITH step AS MATERIALIZED (
        SELECT d.job_id, d.seq, d.endpoint_id, d.finished_at FROM webhook_deliveries d
        WHERE d.endpoint_id = %(endpoint_id)s::uuid AND d.status = 'failed'
            AND d.finished_at >= %(since)s::timestamptz
        ORDER BY d.finished_at LIMIT (SELECT %(limit)s::int) FOR UPDATE SKIP LOCKED
    ), due AS (
        UPDATE webhook_deliveries d SET
            status = 'pending', failures = 0, finished_at = NULL, next_try_at = now()
        FROM {rows_of("step", "job_id", "seq")} AS s (job_id, seq)
        WHERE d.job_id = s.job_id AND d.seq = s.seq AND d.endpoint_id = %(endpoint_id)s::uuid
    )
    SELECT count(*), count(*) >= %(limit)s::int, max(finished_at) FROM step
    """,
)

REPLAY = Statement(
    "replay_webhooks",
    promise="Of the next at most `limit` status changes of the period, in the order of their"
    " times, those that match the endpoint's filters are due to it now: an existing"
    " delivery again, otherwise a new one. Changes of jobs that are removed, or not visible"
    " to the caller, are left out. The row has the number of deliveries, whether there may"
    " be more changes, and the position of the last one.",
    sql=f"""
    WITH endpoint AS MATERIALIZED (
        SELECT * FROM webhook_endpoints w
        WHERE w.id = %(endpoint_id)s::uuid AND w.active AND {visible_rows("w")} FOR KEY SHARE
    ), step AS MATERIALIZED (
        SELECT e.* FROM job_events e
        WHERE e.stats IS NOT NULL
            AND e.at >= %(after_at)s::timestamptz AND e.at < %(until)s::timestamptz
            AND (e.at, e.job_id, e.seq)
                > (%(after_at)s::timestamptz, %(after_id)s::uuid, %(after_seq)s::bigint)
        ORDER BY e.at, e.job_id, e.seq LIMIT (SELECT %(limit)s::int)
    ), wanted AS MATERIALIZED (
        SELECT e.job_id, e.seq, w.id AS endpoint_id, {body("e", "c")} AS body
        FROM endpoint w CROSS JOIN step e
        CROSS JOIN LATERAL (
            SELECT j.domain, j.job_type, j.customer_config_id, e.new_status FROM scrape_jobs j
            WHERE j.id = e.job_id AND {visible_rows("j")}) AS c
        WHERE e.old_status IS NOT NULL AND {wants("w", "c")}
    ), due AS (
        INSERT INTO webhook_deliveries AS d
            (job_id, seq, endpoint_id, id, body, next_try_at, created_at)
        SELECT
            x.job_id, x.seq, x.endpoint_id, {webhook_id("x.job_id", "x.seq", "x.endpoint_id")},
            x.body, now(), now()
        FROM wanted x ORDER BY x.job_id, x.seq
        ON CONFLICT (job_id, seq, endpoint_id) DO UPDATE SET
            status = 'pending', failures = 0, finished_at = NULL,
            next_try_at = CASE WHEN d.claim IS NULL THEN now() ELSE d.next_try_at END
    )
    SELECT
        (SELECT count(*) FROM wanted), (SELECT count(*) FROM step) >= %(limit)s::int,
        last.at, last.job_id, last.seq
    FROM (VALUES (true)) AS one
    LEFT JOIN LATERAL (
        SELECT at, job_id, seq FROM step ORDER BY at DESC, job_id DESC, seq DESC LIMIT 1
    ) AS last ON true
    """,
    # Its own conditions select the caller's jobs, and it reads at most `limit` of all events.
    past_row_security=True,
)

DELETE_DELIVERIES = Statement(
    "drop_webhook_deliveries",
    promise="At most `limit` deliveries to the endpoint are deleted. The row has their number, and"
    " whether more may be left.",
    sql=f"""
    WITH step AS MATERIALIZED (
        SELECT d.job_id, d.seq FROM webhook_deliveries d
        WHERE d.endpoint_id = %(endpoint_id)s::uuid
        ORDER BY d.status, d.created_at, d.id LIMIT (SELECT %(limit)s::int) FOR UPDATE SKIP LOCKED
    ), deleted AS (
        DELETE FROM webhook_deliveries d USING {rows_of("step", "job_id", "seq")} AS s (job_id, seq)
        WHERE d.job_id = s.job_id AND d.seq = s.seq AND d.endpoint_id = %(endpoint_id)s::uuid
    )
    SELECT count(*), count(*) >= %(limit)s::int FROM step
    """,
    # Row security shows deliveries by their endpoint, which is deleted already.
    past_row_security=True,
)

ENQUEUE_TEST = Statement(
    "enqueue_test_webhook",
    promise="A test message is due to the endpoint; it has the id of a job that does not exist.",
    sql=f"""
    INSERT INTO webhook_deliveries AS d
        (job_id, seq, endpoint_id, id, body, next_try_at, created_at)
    VALUES (
        %(job_id)s::uuid, 1, %(endpoint_id)s::uuid, %(id)s::uuid, %(body)s::text, now(), now())
    RETURNING {_delivery_json("d")}
    """,
)


class ListedDelivery(NamedTuple):
    """A delivery in a list: its JSON, and its position."""

    json: str
    position: tuple[datetime, UUID]


class PendingDeliveries(NamedTuple):
    """The pending deliveries, those included that the fan-out has still to create.

    Attributes:
        number: Their number, an estimate above `MAX_COUNTED`.
        oldest_change_seconds: The time that the oldest change has waited for the fan-out.
    """

    number: int
    oldest_change_seconds: float


def count_pending() -> PendingDeliveries:
    """Return the number of pending deliveries, and the age of the oldest change in the outbox."""
    return PendingDeliveries(*database.run(COUNT_PENDING, {})[0])


def list_deliveries(
    endpoint_id: UUID, status: str | None, before: Sequence[Any], limit: int
) -> PageRows[ListedDelivery]:
    """Return deliveries of an endpoint, newest first, as many as fit a page.

    Args:
        endpoint_id: The endpoint.
        status: Only deliveries with this status, or None for all.
        before: Only deliveries before this position: a time and a delivery's id.
        limit: Maximum number of deliveries.
    """
    before_at, before_id = before
    parameters = {
        "endpoint_id": str(endpoint_id),
        "statuses": DELIVERY_STATUSES if status is None else [status],
        "before_at": before_at,
        "before_id": str(before_id),
        "limit": limit,
    }
    rows = database.run(LIST_DELIVERIES, parameters)
    return PageRows([ListedDelivery(text, (at, id)) for at, id, text, *_ in rows], is_cut(rows))


def list_job_deliveries(job_id: UUID) -> Sequence[str]:
    """Return the JSON of the newest deliveries of a job."""
    return [row[2] for row in database.run(LIST_JOB_DELIVERIES, {"job_id": str(job_id)})]


def redeliver(endpoint_id: UUID, delivery_id: UUID) -> str | None:
    """Make a delivery due now and return its JSON, or None if it does not exist."""
    rows = database.run(REDELIVER, {"endpoint_id": str(endpoint_id), "id": str(delivery_id)})
    return rows[0][0] if rows else None


def enqueue_test(endpoint_id: UUID, delivery_id: UUID, job_id: UUID, body: str) -> str:
    """Add a delivery of a test message and return its JSON."""
    parameters = {
        "endpoint_id": str(endpoint_id),
        "id": str(delivery_id),
        "job_id": str(job_id),
        "body": body,
    }
    return str(database.run(ENQUEUE_TEST, parameters)[0][0])
