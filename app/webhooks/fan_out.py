"""The fan-out: makes the deliveries of status changes, in steps of bounded time, with turns between
customers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app import database
from app.database import Statement, rows_of
from app.database.batch_size import BatchSize
from app.errors import DatabaseTimeout
from app.webhooks.dispatch_queries import PUT_OFF_SECONDS, Pair
from app.webhooks.messages import body, wants, webhook_id

MOST_DELIVERIES = 1000
MOST_CUSTOMERS = 50
"""Deliveries that one step makes, and customers between whom it shares them."""

STEP_SECONDS = 0.2
"""How long a step may take, for the deliveries that are due wait meanwhile."""

FIRST_CUSTOMER = UUID(int=0)

FAN_OUT = Statement(
    "fan_out_status_changes",
    # Promises: at most about `limit` deliveries come to stand, shared between the customers from
    # `from_customer` on, of each customer for its oldest changes. A change leaves the outbox in the
    # transaction in which its last delivery is made; one that is served in part keeps the id of the
    # last endpoint that it was served to. Several dispatchers take different changes. A delivery
    # that has to wait for an earlier one of its job is put off. The row holds the number of
    # changes, the next customer whose turn it is, and the jobs and endpoints of what was put off.
    f"""
    WITH RECURSIVE customer AS (
        (SELECT o.customer AS id, 1 AS nth FROM outbox o
            WHERE o.customer >= %(from_customer)s::uuid ORDER BY o.customer LIMIT 1)
        UNION ALL
        SELECT (SELECT o.customer FROM outbox o WHERE o.customer > c.id ORDER BY o.customer LIMIT 1), c.nth + 1
        FROM customer c WHERE c.id IS NOT NULL AND c.nth < %(customers)s::int
    ), endpoints AS MATERIALIZED (
        SELECT w.customer_config_id AS customer, count(*) AS number FROM webhook_endpoints w WHERE w.active GROUP BY 1
    ), turn AS MATERIALIZED (
        SELECT c.id AS customer, greatest(1, %(limit)s::int / count(*) OVER ()) AS deliveries,
            (SELECT greatest(1, sum(n.number))::bigint FROM endpoints n
                WHERE n.customer IS NULL OR n.customer = c.id) AS each
        FROM customer c WHERE c.id IS NOT NULL
    ), taken AS MATERIALIZED (
        SELECT o.*, t.deliveries FROM turn t CROSS JOIN LATERAL (
            SELECT o.job_id, o.seq, o.served_to FROM outbox o WHERE o.customer = t.customer
            ORDER BY o.created_at LIMIT greatest(1, t.deliveries / t.each) FOR UPDATE SKIP LOCKED
        ) AS o
    ), change AS MATERIALIZED (
        SELECT t.*, e.new_status, j.domain, j.job_type, j.customer_config_id,
            row_number() OVER (PARTITION BY t.job_id ORDER BY t.seq) > 1 AS follows
        FROM taken t CROSS JOIN LATERAL (SELECT e.new_status FROM job_events e
            WHERE e.job_id = t.job_id AND e.seq = t.seq OFFSET 0) AS e
        CROSS JOIN LATERAL (SELECT j.domain, j.job_type, j.customer_config_id FROM scrape_jobs j
            WHERE j.id = t.job_id OFFSET 0) AS j
    ), message AS MATERIALIZED (
        -- The endpoints' deletion waits until the deliveries are there to be removed, too.
        SELECT c.job_id, c.seq, c.follows, w.ids, cardinality(w.ids) >= c.deliveries AS has_more,
            CASE WHEN cardinality(w.ids) > 0 THEN
                (SELECT {body("e", "c")} FROM job_events e WHERE e.job_id = c.job_id AND e.seq = c.seq)
            END AS body
        FROM change c CROSS JOIN LATERAL (SELECT ARRAY(
            SELECT w.id FROM webhook_endpoints w WHERE w.active AND w.id > c.served_to AND {wants("w", "c")}
            ORDER BY w.id LIMIT c.deliveries FOR KEY SHARE) AS ids
        ) AS w
    ), made AS (
        INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, next_try_at, created_at)
        SELECT m.job_id, m.seq, w.id, {webhook_id("m.job_id", "m.seq", "w.id")}, m.body,
            now() + make_interval(secs => CASE WHEN m.follows OR EXISTS (SELECT FROM webhook_deliveries d
                WHERE d.endpoint_id = w.id AND d.job_id = m.job_id AND d.status = 'pending' AND d.seq < m.seq)
            THEN %(put_off)s::int ELSE 0 END), now()
        FROM message m CROSS JOIN LATERAL unnest(m.ids) AS w (id)
        ON CONFLICT (job_id, seq, endpoint_id) DO NOTHING -- a replay was earlier
        RETURNING job_id, endpoint_id, next_try_at > now() AS waits
    ), partly_served AS MATERIALIZED (
        SELECT m.job_id, m.seq, m.ids[cardinality(m.ids)] AS last FROM message m WHERE m.has_more
    ), moved AS (
        UPDATE outbox o SET served_to = p.last
        FROM {rows_of("partly_served", "job_id", "seq", "last")} AS p (job_id, seq, last)
        WHERE o.job_id = p.job_id AND o.seq = p.seq
    ), served AS MATERIALIZED (
        SELECT t.job_id, t.seq FROM taken t
        WHERE NOT EXISTS (SELECT FROM partly_served p WHERE p.job_id = t.job_id AND p.seq = t.seq)
    ), gone AS (
        DELETE FROM outbox o USING {rows_of("served", "job_id", "seq")} AS s (job_id, seq)
        WHERE o.job_id = s.job_id AND o.seq = s.seq
    )
    SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM turn),
        (SELECT customer FROM turn ORDER BY customer DESC LIMIT 1),
        waiting.job_ids, waiting.endpoint_ids
    FROM (SELECT coalesce(array_agg(m.job_id::text), '{{}}') AS job_ids,
            coalesce(array_agg(m.endpoint_id::text), '{{}}') AS endpoint_ids
        FROM made m WHERE m.waits) AS waiting
    """,
)


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: whether more may be left, and the pairs of which a delivery was put off."""

    has_more: bool
    put_off: Sequence[Pair]


class FanOut:
    """Takes steps, each of which goes on after the customers of the one before."""

    def __init__(self) -> None:
        self._size = BatchSize(MOST_DELIVERIES, STEP_SECONDS)
        self._from_customer = FIRST_CUSTOMER

    def step(self) -> Step:
        """Make the next deliveries.

        Raises DatabaseFailure; after a DatabaseTimeout the next step is smaller.
        """
        started = time.monotonic()
        parameters = {
            "limit": self._size.rows,
            "customers": MOST_CUSTOMERS,
            "from_customer": str(self._from_customer),
            "put_off": PUT_OFF_SECONDS,
        }
        try:
            changes, customers, last, job_ids, endpoint_ids = database.run(FAN_OUT, parameters)[0]
        except DatabaseTimeout:
            self._size.timed_out()
            raise
        if changes:
            self._size.took(time.monotonic() - started)
        has_more = changes > 0 or self._from_customer != FIRST_CUSTOMER
        self._from_customer = _following(last) if customers == MOST_CUSTOMERS else FIRST_CUSTOMER
        pairs = [
            (UUID(job), UUID(endpoint)) for job, endpoint in zip(job_ids, endpoint_ids, strict=True)
        ]
        return Step(has_more, pairs)


def _following(customer: UUID) -> UUID:
    return UUID(int=(customer.int + 1) % 2**128)
