"""The dispatcher's SQL: claim, resume, settle and release deliveries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from app import database
from app.database import Statement, rows_of
from app.webhooks.claims import ClaimedDelivery, ClaimLimits, EndpointShare, JobAndEndpoint
from app.webhooks.evaluation import AttemptResult

MAX_RECORDED_ATTEMPTS = 50
"""Attempts of one delivery that are kept; the oldest are removed."""

POSTPONE_SECONDS, MAX_POSTPONE_SECONDS = 30, 3600
"""How long a delivery is postponed that waits for an earlier one of its job: a second more for each
event between them.

RESUME makes it due as soon as the earlier delivery ends. The postponement only bounds the delay if
the dispatcher is killed before that.
"""

MAX_POSTPONED_PER_CLAIM = 500

_LOCKED = """(
            SELECT d.job_id, d.seq, d.endpoint_id FROM webhook_deliveries d
            WHERE d.job_id = x.job_id AND d.seq = x.seq AND d.endpoint_id = x.endpoint_id
                AND (d.status = 'pending') IS TRUE AND (d.next_try_at <= now()) IS TRUE
            FOR UPDATE SKIP LOCKED)"""
"""SQL for the delivery of a row ``x``, locked, if it is still due.

IS TRUE keeps the planner from all indexes but the primary key.
"""

CLAIM = Statement(
    "claim_webhook_deliveries",
    promise="At most `limit` due deliveries belong to this claim alone for `lease_seconds`. An"
    " endpoint gets at most as many as it has capacity for. Of each job and endpoint only the"
    " first pending delivery is claimed; an earlier change of the job that is still in the"
    " outbox, and not yet served to the endpoint, comes first, too. Customers take turns,"
    " and so do the endpoints of each customer. Of the untrusted endpoints of one customer"
    " at most `untrusted` deliveries are held. Due deliveries that wait for an earlier one"
    " are postponed, so that no later claim examines them again; the rows without a seq"
    " name them.",
    sql=f"""
    WITH
    -- The endpoints that this dispatcher knows: their capacity, held deliveries, and trust.
    share AS MATERIALIZED (
        SELECT * FROM unnest(
            %(endpoints)s::uuid[], %(capacities)s::int[], %(held)s::int[], %(trusted)s::bool[]
        ) AS s (endpoint_id, capacity, held, trusted)
    ),
    -- The active endpoints. The sums of each customer give turns to customers that hold little.
    endpoint AS MATERIALIZED (
        SELECT
            w.id,
            w.customer_config_id AS customer,
            coalesce(s.capacity, %(capacity)s::int) AS capacity,
            coalesce(s.held, 0) AS held,
            coalesce(s.trusted, false) AS trusted,
            sum(coalesce(s.held, 0)) OVER (PARTITION BY w.customer_config_id) AS customer_held,
            sum(coalesce(s.held, 0)) FILTER (WHERE s.trusted IS NOT TRUE)
                OVER (PARTITION BY w.customer_config_id) AS customer_untrusted
        FROM webhook_endpoints w LEFT JOIN share s ON s.endpoint_id = w.id
        WHERE w.active
    ),
    -- The due deliveries of each endpoint, by its own index. Twice its capacity, because other
    -- dispatchers may hold some and some may have to wait. waits_until is null for a delivery that
    -- is first in its order; otherwise it is the time until which it is postponed.
    due AS MATERIALIZED (
        SELECT
            d.*,
            w.customer, w.capacity, w.held, w.trusted, w.customer_held, w.customer_untrusted,
            CASE
                WHEN earlier.seq IS NOT NULL THEN greatest(
                    earlier.next_try_at,
                    now() + make_interval(secs => least(
                        %(postpone)s::int + d.seq - earlier.seq, %(max_postpone)s::int)))
                WHEN EXISTS (
                    SELECT FROM outbox o
                    WHERE o.job_id = d.job_id AND o.seq < d.seq AND o.served_to < d.endpoint_id)
                THEN now() + interval '1 second'
            END AS waits_until
        FROM endpoint w
        CROSS JOIN LATERAL (
            SELECT d.job_id, d.seq, d.endpoint_id, d.next_try_at FROM webhook_deliveries d
            WHERE d.endpoint_id = w.id AND d.status = 'pending' AND d.next_try_at <= now()
            ORDER BY d.next_try_at LIMIT 2 * w.capacity
        ) AS d
        LEFT JOIN LATERAL (
            SELECT e.seq, e.next_try_at FROM webhook_deliveries e
            WHERE e.endpoint_id = d.endpoint_id AND e.job_id = d.job_id
                AND e.status = 'pending' AND e.seq < d.seq
            ORDER BY e.seq LIMIT 1
        ) AS earlier ON true
    ),
    -- The deliveries to postpone, locked: another dispatcher may have settled them meanwhile.
    waiting AS MATERIALIZED (
        SELECT d.job_id, d.seq, d.endpoint_id, x.waits_until
        FROM (
            SELECT * FROM due WHERE waits_until IS NOT NULL LIMIT %(max_postponed)s::int
        ) AS x
        CROSS JOIN LATERAL {_LOCKED} AS d
    ),
    postponed AS (
        UPDATE webhook_deliveries d SET next_try_at = x.waits_until, claim = NULL
        FROM {rows_of("waiting", "job_id", "seq", "endpoint_id", "waits_until")}
            AS x (job_id, seq, endpoint_id, waits_until)
        WHERE d.job_id = x.job_id AND d.seq = x.seq AND d.endpoint_id = x.endpoint_id
        RETURNING d.job_id, d.endpoint_id
    ),
    -- The deliveries that may be claimed, numbered within their endpoint. Chance decides between
    -- equals, so that no endpoint always comes last.
    numbered AS MATERIALIZED (
        SELECT
            x.*,
            random() AS chance,
            row_number() OVER (PARTITION BY x.endpoint_id ORDER BY x.next_try_at) AS nth
        FROM due x WHERE x.waits_until IS NULL
    ),
    -- The first ones, when customers and their endpoints take turns. Twice the limit, because the
    -- next steps leave some out. Only these are locked.
    first AS MATERIALIZED (
        SELECT
            x.*,
            x.customer_held
                + row_number() OVER (PARTITION BY x.customer ORDER BY x.held + x.nth, x.chance)
                AS turn
        FROM numbered x ORDER BY turn, chance LIMIT 2 * %(limit)s::int
    ),
    -- Without those that another dispatcher has locked or claimed since.
    free AS MATERIALIZED (
        SELECT x.* FROM first x CROSS JOIN LATERAL {_LOCKED} AS d
    ),
    -- At most as many of each endpoint as it has capacity for; then numbered within the customer.
    roomy AS (
        SELECT
            x.*,
            row_number() OVER (PARTITION BY x.customer, x.trusted ORDER BY x.turn) AS customer_nth
        FROM (
            SELECT
                f.*,
                row_number() OVER (PARTITION BY f.endpoint_id ORDER BY f.next_try_at)
                    AS endpoint_nth
            FROM free f
        ) AS x
        WHERE x.endpoint_nth <= x.capacity
    ),
    -- Without those of untrusted endpoints above the bound of their customer.
    picked AS MATERIALIZED (
        SELECT x.job_id, x.seq, x.endpoint_id FROM roomy x
        WHERE x.customer IS NULL OR x.trusted
            OR x.customer_nth + coalesce(x.customer_untrusted, 0) <= %(untrusted)s::int
        ORDER BY x.turn, x.chance LIMIT %(limit)s::int
    ),
    -- A claimed delivery is due again when its lease expires, in case the dispatcher is killed.
    claimed AS (
        UPDATE webhook_deliveries d SET
            claim = %(claim)s::uuid,
            next_try_at = now() + make_interval(secs => %(lease_seconds)s::int)
        FROM {rows_of("picked", "job_id", "seq", "endpoint_id")} AS p (job_id, seq, endpoint_id)
        JOIN webhook_endpoints w ON w.id = p.endpoint_id
        WHERE d.job_id = p.job_id AND d.seq = p.seq AND d.endpoint_id = p.endpoint_id
        RETURNING
            d.job_id, d.seq, d.endpoint_id, d.id, d.body, d.failures, w.url, w.secret,
            CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END,
            w.headers, w.failing_since, extract(epoch FROM now() - d.created_at)::float8
    )
    SELECT * FROM claimed
    UNION ALL
    SELECT job_id, NULL, endpoint_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM postponed
    """,
)

RESUME = Statement(
    "resume_webhook_deliveries",
    promise="Of each job and endpoint the first pending delivery is due, if it was postponed to"
    " wait for another. It runs after the commit that ended the other delivery, and after"
    " the commit that postponed one: either run sees the other's writes, so no delivery"
    " waits for one that has ended.",
    sql="""
    UPDATE webhook_deliveries d SET next_try_at = now()
    FROM (
        SELECT DISTINCT * FROM unnest(%(job_ids)s::uuid[], %(endpoint_ids)s::uuid[])
    ) AS p (job_id, endpoint_id)
    CROSS JOIN LATERAL (
        SELECT e.seq FROM webhook_deliveries e
        WHERE e.endpoint_id = p.endpoint_id AND e.job_id = p.job_id AND e.status = 'pending'
        ORDER BY e.seq LIMIT 1
    ) AS first
    WHERE d.job_id = p.job_id AND d.seq = first.seq AND d.endpoint_id = p.endpoint_id
        AND (d.status = 'pending') IS TRUE AND d.failures = 0 AND d.claim IS NULL
        AND d.next_try_at > now()
    RETURNING true
    """,
)

SETTLE = Statement(
    "settle_webhook_deliveries",
    promise="Each attempt is recorded, and its delivery is delivered, pending again or failed, if"
    " the claim still holds it. A success clears the endpoint's failing_since, a failure"
    " sets it. An endpoint with a disabled_reason is inactive.",
    sql=f"""
    WITH result AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(results)s::jsonb) AS r (
            job_id uuid, seq bigint, endpoint_id uuid,
            status text, wait_seconds float8, attempt jsonb, disabled_reason text)
    ), settled AS (
        UPDATE webhook_deliveries d SET
            status = r.status, claim = NULL,
            failures = CASE WHEN r.status = 'delivered' THEN 0 ELSE d.failures + 1 END,
            next_try_at = now() + make_interval(secs => coalesce(r.wait_seconds, 0)),
            finished_at = CASE WHEN r.status <> 'pending' THEN now() END,
            tries = CASE
                WHEN jsonb_array_length(d.tries) < {MAX_RECORDED_ATTEMPTS} THEN d.tries
                ELSE d.tries - 0
            END || r.attempt
        FROM result r
        WHERE d.job_id = r.job_id AND d.seq = r.seq AND d.endpoint_id = r.endpoint_id
            AND d.claim = %(claim)s::uuid
        RETURNING d.endpoint_id, d.status, r.disabled_reason
    ), verdict AS (
        SELECT
            endpoint_id,
            bool_or(status = 'delivered') AS answers,
            max(disabled_reason) AS disabled_reason
        FROM settled GROUP BY endpoint_id
    ), updated AS (
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
    promise="The deliveries that the claim still holds are due at once, for any dispatcher.",
    sql="""
    UPDATE webhook_deliveries d SET claim = NULL, next_try_at = now()
    WHERE d.claim = %(claim)s::uuid AND d.status = 'pending'
        AND (d.job_id, d.seq, d.endpoint_id) IN (
            SELECT * FROM unnest(
                %(job_ids)s::uuid[], %(seqs)s::bigint[], %(endpoint_ids)s::uuid[]))
    RETURNING true
    """,
)


@dataclass(frozen=True, slots=True)
class ClaimedBatch:
    """The deliveries of a claim, and the pairs of which it postponed a delivery."""

    deliveries: Sequence[ClaimedDelivery]
    postponed: Sequence[JobAndEndpoint]


def claim(
    claim_id: UUID,
    shares: Mapping[UUID, EndpointShare],
    limits: ClaimLimits,
    lease_seconds: int,
) -> ClaimedBatch:
    """Claim due deliveries within `limits`, and within the capacity of the endpoints in `shares`.

    A delivery that waits for an earlier one of its job is postponed instead. The caller passes
    these pairs to `resume` after the commit.
    """
    parameters = {
        "claim": str(claim_id),
        "endpoints": database.array(shares),
        "capacities": [share.capacity for share in shares.values()],
        "held": [share.held for share in shares.values()],
        "trusted": [share.trusted for share in shares.values()],
        "capacity": limits.capacity,
        "untrusted": limits.untrusted,
        "limit": limits.deliveries,
        "lease_seconds": lease_seconds,
        "postpone": POSTPONE_SECONDS,
        "max_postpone": MAX_POSTPONE_SECONDS,
        "max_postponed": MAX_POSTPONED_PER_CLAIM,
    }
    rows = database.run(CLAIM, parameters)
    return ClaimedBatch(
        [ClaimedDelivery(*row) for row in rows if row[1] is not None],
        [(job_id, endpoint_id) for job_id, seq, endpoint_id, *_ in rows if seq is None],
    )


def resume(pairs: Sequence[JobAndEndpoint]) -> None:
    """Make the first pending delivery of each pair due, if it was postponed to wait for another."""
    if pairs:
        parameters = {
            "job_ids": database.array(job_id for job_id, _ in pairs),
            "endpoint_ids": database.array(endpoint_id for _, endpoint_id in pairs),
        }
        database.run(RESUME, parameters)


def settle(claim_id: UUID, results: Sequence[AttemptResult]) -> None:
    """Record the results of attempts that were made under `claim_id`."""
    rows = [
        {
            "job_id": str(result.claimed.job_id),
            "seq": result.claimed.seq,
            "endpoint_id": str(result.claimed.endpoint_id),
            "status": result.status,
            "wait_seconds": result.wait_seconds,
            "attempt": result.attempt,
            "disabled_reason": result.disabled_reason,
        }
        for result in results
    ]
    database.run(SETTLE, {"claim": str(claim_id), "results": json.dumps(rows)})


def release(claim_id: UUID, deliveries: Sequence[ClaimedDelivery]) -> None:
    """Release claimed deliveries that were not attempted."""
    parameters = {
        "claim": str(claim_id),
        "job_ids": database.array(delivery.job_id for delivery in deliveries),
        "seqs": [delivery.seq for delivery in deliveries],
        "endpoint_ids": database.array(delivery.endpoint_id for delivery in deliveries),
    }
    database.run(RELEASE, parameters)
