"""The dispatcher's SQL: claim, settlement and release of deliveries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app import database
from app.database import Statement, rows_of

KEPT_TRIES = 50
"""Tries of one delivery that are kept; older ones go."""

PUT_OFF_SECONDS, LONGEST_PUT_OFF_SECONDS = 30, 3600
"""How long a delivery is put off that waits for an earlier one of its job: with each event between
them a second more.

It is due earlier, as soon as that one ends, by RESUME. The time only bounds what a crash before
that costs.
"""

MOST_PUT_OFF = 500
"""Deliveries that one claim puts off."""

_LOCKED = """(
            SELECT d.job_id, d.seq, d.endpoint_id FROM webhook_deliveries d
            WHERE d.job_id = x.job_id AND d.seq = x.seq AND d.endpoint_id = x.endpoint_id
                AND (d.status = 'pending') IS TRUE AND (d.next_try_at <= now()) IS TRUE
            FOR UPDATE SKIP LOCKED)"""
"""SQL for the delivery of a row ``x``, locked, if it is still due.

IS TRUE keeps the planner from any index but the primary key.
"""

CLAIM = Statement(
    "claim_webhook_deliveries",
    # Promises: at most `limit` due deliveries are this claim's alone until `lease_seconds` are
    # over, of each endpoint no more than the caller has room for, and of each job and endpoint the
    # first that is still owed. An earlier change of the job that is in the outbox, and not yet
    # served to the endpoint, comes first, too. Customers take turns, and so do the endpoints of
    # each; of one customer's endpoints that are not trusted at most `untrusted` deliveries are
    # held. Due deliveries that have to wait for an earlier one are put off, so that no later claim
    # looks at them again: rows without a seq name them.
    f"""
    WITH share AS MATERIALIZED (
        SELECT * FROM unnest(%(endpoints)s::uuid[], %(rooms)s::int[], %(held)s::int[], %(trusted)s::bool[])
            AS s (endpoint_id, room, held, trusted)
    ), endpoint AS MATERIALIZED (
        SELECT w.id, w.customer_config_id AS customer, coalesce(s.room, %(room)s::int) AS room,
            coalesce(s.held, 0) AS held, coalesce(s.trusted, false) AS trusted,
            sum(coalesce(s.held, 0)) OVER (PARTITION BY w.customer_config_id) AS customer_held,
            sum(coalesce(s.held, 0)) FILTER (WHERE s.trusted IS NOT TRUE)
                OVER (PARTITION BY w.customer_config_id) AS customer_untrusted
        FROM webhook_endpoints w LEFT JOIN share s ON s.endpoint_id = w.id WHERE w.active
    ), due AS MATERIALIZED (
        SELECT d.*, w.customer, w.room, w.held, w.trusted, w.customer_held, w.customer_untrusted, CASE
                WHEN earlier.seq IS NOT NULL THEN greatest(earlier.next_try_at, now() + make_interval(secs =>
                    least(%(put_off)s::int + d.seq - earlier.seq, %(longest_put_off)s::int)))
                WHEN EXISTS (SELECT FROM outbox o
                    WHERE o.job_id = d.job_id AND o.seq < d.seq AND o.served_to < d.endpoint_id)
                    THEN now() + interval '1 second'
            END AS waits_until
        FROM endpoint w CROSS JOIN LATERAL (
            SELECT d.job_id, d.seq, d.endpoint_id, d.next_try_at FROM webhook_deliveries d
            WHERE d.endpoint_id = w.id AND d.status = 'pending' AND d.next_try_at <= now()
            ORDER BY d.next_try_at LIMIT 2 * w.room -- others may hold some, and some may have to wait
        ) AS d LEFT JOIN LATERAL (
            SELECT e.seq, e.next_try_at FROM webhook_deliveries e
            WHERE e.endpoint_id = d.endpoint_id AND e.job_id = d.job_id AND e.status = 'pending' AND e.seq < d.seq
            ORDER BY e.seq LIMIT 1
        ) AS earlier ON true
    ), waiting AS MATERIALIZED (
        SELECT d.job_id, d.seq, d.endpoint_id, x.waits_until
        FROM (SELECT * FROM due WHERE waits_until IS NOT NULL LIMIT %(most_put_off)s::int) AS x
        CROSS JOIN LATERAL {_LOCKED} AS d
    ), put_off AS (
        UPDATE webhook_deliveries d SET next_try_at = x.waits_until, claim = NULL
        FROM {rows_of("waiting", "job_id", "seq", "endpoint_id", "waits_until")}
            AS x (job_id, seq, endpoint_id, waits_until)
        WHERE d.job_id = x.job_id AND d.seq = x.seq AND d.endpoint_id = x.endpoint_id
        RETURNING d.job_id, d.endpoint_id
    ), numbered AS MATERIALIZED (
        SELECT x.*, random() AS chance, row_number() OVER (PARTITION BY x.endpoint_id ORDER BY x.next_try_at) AS nth
        FROM due x WHERE x.waits_until IS NULL
    ), first AS MATERIALIZED (
        SELECT x.*, x.customer_held + row_number() OVER (PARTITION BY x.customer ORDER BY x.held + x.nth, x.chance)
            AS turn
        FROM numbered x ORDER BY turn, chance LIMIT 2 * %(limit)s::int
    ), free AS MATERIALIZED (
        SELECT x.* FROM first x CROSS JOIN LATERAL {_LOCKED} AS d
    ), roomy AS (
        SELECT x.*, row_number() OVER (PARTITION BY x.customer, x.trusted ORDER BY x.turn) AS customer_nth
        FROM (SELECT f.*, row_number() OVER (PARTITION BY f.endpoint_id ORDER BY f.next_try_at) AS endpoint_nth
            FROM free f) AS x
        WHERE x.endpoint_nth <= x.room
    ), picked AS MATERIALIZED (
        SELECT x.job_id, x.seq, x.endpoint_id FROM roomy x
        WHERE x.customer IS NULL OR x.trusted
            OR x.customer_nth + coalesce(x.customer_untrusted, 0) <= %(untrusted)s::int
        ORDER BY x.turn, x.chance LIMIT %(limit)s::int
    ), claimed AS (
        UPDATE webhook_deliveries d SET
            claim = %(claim)s::uuid, next_try_at = now() + make_interval(secs => %(lease_seconds)s::int)
        FROM {rows_of("picked", "job_id", "seq", "endpoint_id")} AS p (job_id, seq, endpoint_id)
        JOIN webhook_endpoints w ON w.id = p.endpoint_id
        WHERE d.job_id = p.job_id AND d.seq = p.seq AND d.endpoint_id = p.endpoint_id
        RETURNING d.job_id, d.seq, d.endpoint_id, d.id, d.body, d.failures, w.url, w.secret,
            CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END, w.headers, w.failing_since,
            extract(epoch FROM now() - d.created_at)::float8
    )
    SELECT * FROM claimed
    UNION ALL
    SELECT job_id, NULL, endpoint_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM put_off
    """,
)

RESUME = Statement(
    "resume_webhook_deliveries",
    # Promises: of each job and endpoint the first delivery that is owed is due, if it was put off
    # to wait for another. It runs after the commit of whatever ended that other one, and after the
    # commit of whatever put a delivery off: either sees what the other has written, so nothing
    # waits for a delivery that has ended.
    """
    UPDATE webhook_deliveries d SET next_try_at = now()
    FROM (SELECT DISTINCT * FROM unnest(%(job_ids)s::uuid[], %(endpoint_ids)s::uuid[])) AS p (job_id, endpoint_id)
    CROSS JOIN LATERAL (
        SELECT e.seq FROM webhook_deliveries e
        WHERE e.endpoint_id = p.endpoint_id AND e.job_id = p.job_id AND e.status = 'pending' ORDER BY e.seq LIMIT 1
    ) AS first
    WHERE d.job_id = p.job_id AND d.seq = first.seq AND d.endpoint_id = p.endpoint_id
        AND (d.status = 'pending') IS TRUE AND d.failures = 0 AND d.claim IS NULL AND d.next_try_at > now()
    RETURNING true
    """,
)

SETTLE = Statement(
    "settle_webhook_deliveries",
    # Promises: each try is recorded and its delivery delivered, due again or given up, if the claim
    # still holds it; an endpoint that answers has no bad past, and one that is to be disabled is.
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
    """What became of a try: the delivery's new status and next time, what to record, and the
    endpoint's fate."""

    claimed: Claimed
    status: str
    attempt: Mapping[str, Any]
    wait_seconds: float | None = None
    disabled_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What a dispatcher holds of one endpoint's deliveries, how many more it has room for, and
    whether it is trusted.

    A trusted endpoint has answered quickly, so that its deliveries keep no sender for long.
    """

    held: int
    room: int
    trusted: bool = False


Pair = tuple[UUID, UUID]
"""A job and an endpoint, whose deliveries follow each other."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a claim may take: in all, of an endpoint without a share, and of a customer's
    untrusted endpoints."""

    deliveries: int
    room: int
    untrusted: int


def claim(
    claim_id: UUID, shares: Mapping[UUID, Share], limits: Limits, lease_seconds: int
) -> tuple[Sequence[Claimed], Sequence[Pair]]:
    """Claim due deliveries within `limits`, of the endpoints in `shares` what these have room for.

    Return them, and the pairs of which a delivery was put off because it has to wait for an earlier
    one.
    """
    parameters = {
        "claim": str(claim_id),
        "endpoints": database.array(shares),
        "rooms": [share.room for share in shares.values()],
        "held": [share.held for share in shares.values()],
        "trusted": [share.trusted for share in shares.values()],
        "room": limits.room,
        "untrusted": limits.untrusted,
        "limit": limits.deliveries,
        "lease_seconds": lease_seconds,
        "put_off": PUT_OFF_SECONDS,
        "longest_put_off": LONGEST_PUT_OFF_SECONDS,
        "most_put_off": MOST_PUT_OFF,
    }
    rows = database.run(CLAIM, parameters)
    put_off = [(job_id, endpoint_id) for job_id, seq, endpoint_id, *_ in rows if seq is None]
    return [Claimed(*row) for row in rows if row[1] is not None], put_off


def resume(pairs: Sequence[Pair]) -> None:
    """Make the first delivery of each pair due that waited for an earlier one, if that has
    ended."""
    if pairs:
        parameters = {
            "job_ids": database.array(job_id for job_id, _ in pairs),
            "endpoint_ids": database.array(endpoint_id for _, endpoint_id in pairs),
        }
        database.run(RESUME, parameters)


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
