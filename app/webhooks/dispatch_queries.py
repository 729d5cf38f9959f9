"""The dispatcher's SQL: fan-out, claim, settlement and release of deliveries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app import database
from app.database import Statement, timestamp

KEPT_TRIES = 50
"""Tries of one delivery that are kept; older ones go."""

FAN_OUT = Statement(
    "fan_out_status_changes",
    # Promises: each of at most `limit` status changes leaves the outbox in the transaction in which its deliveries, one
    # for every endpoint that wants it, come to stand. Several dispatchers take different ones.
    f"""
    WITH taken AS MATERIALIZED (
        SELECT o.job_id, o.seq FROM outbox o ORDER BY o.created_at LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM outbox o USING taken WHERE o.job_id = taken.job_id AND o.seq = taken.seq
    ), message AS MATERIALIZED (
        SELECT e.job_id, e.seq, j.domain, j.job_type, j.customer_config_id, e.new_status,
            (SELECT row_to_json(m)::text FROM (SELECT
            'job_status_changed' AS event, e.job_id, j.domain, e.old_status, e.new_status, e.stats,
            {timestamp("e.at")} AS timestamp) AS m) AS body
        FROM taken JOIN job_events e USING (job_id, seq) JOIN scrape_jobs j ON j.id = taken.job_id
    ), owed AS (
        INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, next_try_at, created_at)
        SELECT m.job_id, m.seq, w.id, md5(concat_ws(' ', m.job_id, m.seq, w.id))::uuid, m.body, now(), now()
        FROM message m JOIN (SELECT * FROM webhook_endpoints WHERE active FOR KEY SHARE) AS w
            ON (w.statuses IS NULL OR m.new_status = ANY(w.statuses))
            AND (w.job_types IS NULL OR m.job_type = ANY(w.job_types))
            AND (w.domains IS NULL OR m.domain = ANY(w.domains))
            AND (w.customer_config_id IS NULL OR w.customer_config_id = m.customer_config_id)
    )
    SELECT count(*) FROM taken
    """,
)

CLAIM = Statement(
    "claim_webhook_deliveries",
    # Promises: at most `limit` due deliveries are this claim's alone until `lease_seconds` are over, of each endpoint
    # no more than the caller has room for, and of each job and endpoint the first that is still owed. Whatever comes
    # earlier of the job stands in its way even while it still waits in the outbox. Who holds the least comes first.
    """
    WITH picked AS MATERIALIZED (
        SELECT p.* FROM webhook_endpoints w
        LEFT JOIN unnest(%(endpoints)s::uuid[], %(rooms)s::int[], %(held)s::int[]) AS r (endpoint_id, room, held)
            ON r.endpoint_id = w.id
        CROSS JOIN LATERAL (
            SELECT d.job_id, d.seq, d.endpoint_id, d.next_try_at FROM webhook_deliveries d
            WHERE d.endpoint_id = w.id AND d.status = 'pending' AND d.next_try_at <= now()
                AND NOT EXISTS (SELECT FROM webhook_deliveries e WHERE e.endpoint_id = d.endpoint_id
                    AND e.job_id = d.job_id AND e.status = 'pending' AND e.seq < d.seq)
                AND NOT EXISTS (SELECT FROM outbox o WHERE o.job_id = d.job_id AND o.seq < d.seq)
            ORDER BY d.next_try_at LIMIT coalesce(r.room, %(room)s::int)
            FOR UPDATE SKIP LOCKED
        ) AS p
        WHERE w.active
        ORDER BY coalesce(r.held, 0) + row_number() OVER (PARTITION BY w.id ORDER BY p.next_try_at), p.next_try_at
        LIMIT %(limit)s::int
    )
    UPDATE webhook_deliveries d SET
        claim = %(claim)s::uuid, next_try_at = now() + make_interval(secs => %(lease_seconds)s::int)
    FROM picked p JOIN webhook_endpoints w ON w.id = p.endpoint_id
    WHERE d.job_id = p.job_id AND d.seq = p.seq AND d.endpoint_id = p.endpoint_id
    RETURNING d.job_id, d.seq, d.endpoint_id, d.id, d.body, d.failures, w.url, w.secret,
        CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END, w.headers, w.failing_since,
        extract(epoch FROM now() - d.created_at)::float8
    """,
)

SETTLE = Statement(
    "settle_webhook_deliveries",
    # Promises: each try is recorded and its delivery delivered, due again or given up, if the claim still holds it; an
    # endpoint that answers has no bad past, and one that is to be disabled is.
    f"""
    WITH result AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(results)s::jsonb) AS r (job_id uuid, seq bigint, endpoint_id uuid,
            status text, wait_seconds float8, try jsonb, disabled_reason text)
    ), settled AS (
        UPDATE webhook_deliveries d SET
            status = r.status, claim = NULL,
            failures = CASE WHEN r.status = 'delivered' THEN 0 ELSE d.failures + 1 END,
            next_try_at = now() + make_interval(secs => coalesce(r.wait_seconds, 0)),
            finished_at = CASE WHEN r.status <> 'pending' THEN now() END,
            tries = CASE WHEN jsonb_array_length(d.tries) < {KEPT_TRIES} THEN d.tries ELSE d.tries - 0 END || r.try
        FROM result r
        WHERE d.job_id = r.job_id AND d.seq = r.seq AND d.endpoint_id = r.endpoint_id AND d.claim = %(claim)s::uuid
        RETURNING d.endpoint_id, d.status, r.disabled_reason
    ), verdict AS (
        SELECT endpoint_id, bool_or(status = 'delivered') AS answers, max(disabled_reason) AS disabled_reason
        FROM settled GROUP BY endpoint_id
    ), judged AS (
        UPDATE webhook_endpoints w SET
            failing_since = CASE WHEN v.answers THEN NULL ELSE coalesce(w.failing_since, now()) END,
            active = w.active AND v.disabled_reason IS NULL,
            disabled_reason = coalesce(v.disabled_reason, w.disabled_reason)
        FROM verdict v
        WHERE w.id = v.endpoint_id
            AND (v.disabled_reason IS NOT NULL OR v.answers <> (w.failing_since IS NULL))
    )
    SELECT count(*) FROM settled
    """,
)

RELEASE = Statement(
    "release_webhook_deliveries",
    # Promises: what the claim still holds is due at once, for whoever comes next.
    """
    UPDATE webhook_deliveries d SET claim = NULL, next_try_at = now()
    WHERE d.claim = %(claim)s::uuid AND d.status = 'pending'
        AND (d.job_id, d.seq, d.endpoint_id) IN (
            SELECT * FROM unnest(%(job_ids)s::uuid[], %(seqs)s::bigint[], %(endpoint_ids)s::uuid[]))
    RETURNING true
    """,
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that a dispatcher holds, with what it takes to try it."""

    job_id: UUID
    seq: int
    endpoint_id: UUID
    id: UUID
    body: str
    failures: int
    url: str
    sealed_secret: str
    sealed_previous_secret: str | None
    sealed_headers: str | None
    failing_since: datetime | None
    owed_seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a try: the delivery's new status and next time, what to record, and the endpoint's fate."""

    claimed: Claimed
    status: str
    attempt: Mapping[str, Any]
    wait_seconds: float | None = None
    disabled_reason: str | None = None


def fan_out(limit: int) -> int:
    """Turn at most `limit` status changes into deliveries; return how many there were."""
    return int(database.run(FAN_OUT, {"limit": limit})[0][0])


@dataclass(frozen=True, slots=True)
class Share:
    """What a dispatcher holds of one endpoint's deliveries, and how many more it has room for."""

    held: int
    room: int


def claim(claim_id: UUID, shares: Mapping[UUID, Share], room: int, limit: int, lease_seconds: int) -> Sequence[Claimed]:
    """Claim at most `limit` due deliveries: of the endpoints in `shares` what they have room for, of others `room`."""
    parameters = {
        "claim": str(claim_id),
        "endpoints": database.array(shares),
        "rooms": [share.room for share in shares.values()],
        "held": [share.held for share in shares.values()],
        "room": room,
        "limit": limit,
        "lease_seconds": lease_seconds,
    }
    return [Claimed(*row) for row in database.run(CLAIM, parameters)]


def settle(claim_id: UUID, results: Sequence[Result]) -> None:
    """Record what became of tries that were made under `claim_id`."""
    rows = [
        {
            "job_id": str(result.claimed.job_id),
            "seq": result.claimed.seq,
            "endpoint_id": str(result.claimed.endpoint_id),
            "status": result.status,
            "wait_seconds": result.wait_seconds,
            "try": result.attempt,
            "disabled_reason": result.disabled_reason,
        }
        for result in results
    ]
    database.run(SETTLE, {"claim": str(claim_id), "results": json.dumps(rows)})


def release(claim_id: UUID, deliveries: Sequence[Claimed]) -> None:
    """Give back deliveries that were claimed and not tried."""
    parameters = {
        "claim": str(claim_id),
        "job_ids": database.array(delivery.job_id for delivery in deliveries),
        "seqs": [delivery.seq for delivery in deliveries],
        "endpoint_ids": database.array(delivery.endpoint_id for delivery in deliveries),
    }
    database.run(RELEASE, parameters)
