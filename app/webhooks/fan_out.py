"""The fan-out: creates the deliveries of status changes, in steps of bounded time.

A step shares its deliveries between several customers, so that a customer with many endpoints or
changes does not delay the others.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app import database
from app.database import Statement, rows_of
from app.database.batch_size import BatchSize
from app.errors import DatabaseTimeout
from app.webhooks.claims import JobAndEndpoint
from app.webhooks.dispatch_queries import POSTPONE_SECONDS
from app.webhooks.messages import body, wants, webhook_id

MAX_DELIVERIES_PER_STEP = 1000
MAX_CUSTOMERS_PER_STEP = 50

STEP_SECONDS = 0.2
"""The time that a step should take. The deliveries that are due wait for the end of the step."""

FIRST_CUSTOMER = UUID(int=0)

FAN_OUT = Statement(
    "fan_out_status_changes",
    promise="About `limit` deliveries at most are created, shared between the customers from"
    " `from_customer` on, for the oldest changes of each. A change leaves the outbox in the"
    " transaction that creates its last delivery; a change that is served in part keeps the"
    " id of the last endpoint that it was served to. Concurrent dispatchers take different"
    " changes. A delivery that waits for an earlier one of its job is postponed. The row"
    " has the number of changes, the number of customers, the last customer, and the jobs"
    " and endpoints of the postponed deliveries.",
    sql=f"""
    WITH RECURSIVE
    -- The next customers that have changes in the outbox, one index lookup for each.
    customer AS (
        (SELECT o.customer AS id, 1 AS nth FROM outbox o
            WHERE o.customer >= %(from_customer)s::uuid ORDER BY o.customer LIMIT 1)
        UNION ALL
        SELECT
            (SELECT o.customer FROM outbox o WHERE o.customer > c.id ORDER BY o.customer LIMIT 1),
            c.nth + 1
        FROM customer c WHERE c.id IS NOT NULL AND c.nth < %(customers)s::int
    ),
    endpoints AS MATERIALIZED (
        SELECT w.customer_config_id AS customer, count(*) AS number
        FROM webhook_endpoints w WHERE w.active GROUP BY 1
    ),
    -- Each customer gets an equal part of the deliveries. `each` is the number of deliveries that
    -- one of its changes may need: its own endpoints and those without a customer.
    turn AS MATERIALIZED (
        SELECT
            c.id AS customer,
            greatest(1, %(limit)s::int / count(*) OVER ()) AS deliveries,
            (SELECT greatest(1, sum(n.number))::bigint FROM endpoints n
                WHERE n.customer IS NULL OR n.customer = c.id) AS each
        FROM customer c WHERE c.id IS NOT NULL
    ),
    -- The oldest changes of each customer, locked.
    taken AS MATERIALIZED (
        SELECT o.*, t.deliveries FROM turn t CROSS JOIN LATERAL (
            SELECT o.job_id, o.seq, o.served_to FROM outbox o WHERE o.customer = t.customer
            ORDER BY o.created_at LIMIT greatest(1, t.deliveries / t.each) FOR UPDATE SKIP LOCKED
        ) AS o
    ),
    -- With the columns that filters need. OFFSET 0 keeps the planner from joining whole tables.
    change AS MATERIALIZED (
        SELECT
            t.*, e.new_status, j.domain, j.job_type, j.customer_config_id,
            row_number() OVER (PARTITION BY t.job_id ORDER BY t.seq) > 1 AS follows
        FROM taken t
        CROSS JOIN LATERAL (
            SELECT e.new_status FROM job_events e
            WHERE e.job_id = t.job_id AND e.seq = t.seq OFFSET 0) AS e
        CROSS JOIN LATERAL (
            SELECT j.domain, j.job_type, j.customer_config_id FROM scrape_jobs j
            WHERE j.id = t.job_id OFFSET 0) AS j
    ),
    -- The next endpoints of each change, and the body, which is built once for all of them. The
    -- lock delays the deletion of an endpoint until its deliveries exist and are deleted, too.
    message AS MATERIALIZED (
        SELECT
            c.job_id, c.seq, c.follows, w.ids,
            cardinality(w.ids) >= c.deliveries AS has_more,
            CASE WHEN cardinality(w.ids) > 0 THEN (
                SELECT {body("e", "c")} FROM job_events e
                WHERE e.job_id = c.job_id AND e.seq = c.seq)
            END AS body
        FROM change c CROSS JOIN LATERAL (SELECT ARRAY(
            SELECT w.id FROM webhook_endpoints w
            WHERE w.active AND w.id > c.served_to AND {wants("w", "c")}
            ORDER BY w.id LIMIT c.deliveries FOR KEY SHARE) AS ids
        ) AS w
    ),
    -- A conflict means that a replay has created the delivery before.
    created AS (
        INSERT INTO webhook_deliveries
            (job_id, seq, endpoint_id, id, body, next_try_at, created_at)
        SELECT
            m.job_id, m.seq, w.id, {webhook_id("m.job_id", "m.seq", "w.id")}, m.body,
            now() + make_interval(secs => CASE
                WHEN m.follows OR EXISTS (
                    SELECT FROM webhook_deliveries d
                    WHERE d.endpoint_id = w.id AND d.job_id = m.job_id
                        AND d.status = 'pending' AND d.seq < m.seq)
                THEN %(postpone)s::int
                ELSE 0
            END),
            now()
        FROM message m CROSS JOIN LATERAL unnest(m.ids) AS w (id)
        ON CONFLICT (job_id, seq, endpoint_id) DO NOTHING
        RETURNING job_id, endpoint_id, next_try_at > now() AS waits
    ),
    -- A change with more endpoints stays in the outbox and goes on after the last one.
    partly_served AS MATERIALIZED (
        SELECT m.job_id, m.seq, m.ids[cardinality(m.ids)] AS last FROM message m WHERE m.has_more
    ),
    moved AS (
        UPDATE outbox o SET served_to = p.last
        FROM {rows_of("partly_served", "job_id", "seq", "last")} AS p (job_id, seq, last)
        WHERE o.job_id = p.job_id AND o.seq = p.seq
    ),
    served AS MATERIALIZED (
        SELECT t.job_id, t.seq FROM taken t
        WHERE NOT EXISTS (
            SELECT FROM partly_served p WHERE p.job_id = t.job_id AND p.seq = t.seq)
    ),
    deleted AS (
        DELETE FROM outbox o USING {rows_of("served", "job_id", "seq")} AS s (job_id, seq)
        WHERE o.job_id = s.job_id AND o.seq = s.seq
    )
    SELECT
        (SELECT count(*) FROM taken),
        (SELECT count(*) FROM turn),
        (SELECT customer FROM turn ORDER BY customer DESC LIMIT 1),
        waiting.job_ids,
        waiting.endpoint_ids
    FROM (
        SELECT
            coalesce(array_agg(c.job_id::text), '{{}}') AS job_ids,
            coalesce(array_agg(c.endpoint_id::text), '{{}}') AS endpoint_ids
        FROM created c WHERE c.waits
    ) AS waiting
    """,
)


@dataclass(frozen=True, slots=True)
class FanOutStep:
    """The result of a step.

    Attributes:
        has_more: Whether more changes may be left.
        postponed: The jobs and endpoints of the deliveries that the step postponed.
    """

    has_more: bool
    postponed: Sequence[JobAndEndpoint]


class FanOut:
    """Takes one step after the other; each continues after the customers of the last one."""

    def __init__(self) -> None:
        self._size = BatchSize(MAX_DELIVERIES_PER_STEP, STEP_SECONDS)
        self._from_customer = FIRST_CUSTOMER

    def step(self) -> FanOutStep:
        """Create the next deliveries. The caller passes the postponed ones to `resume`.

        Raises:
            DatabaseFailure: No delivery was created. After a DatabaseTimeout the next step is
                smaller.
        """
        started = time.monotonic()
        parameters = {
            "limit": self._size.rows,
            "customers": MAX_CUSTOMERS_PER_STEP,
            "from_customer": str(self._from_customer),
            "postpone": POSTPONE_SECONDS,
        }
        try:
            changes, customers, last, job_ids, endpoint_ids = database.run(FAN_OUT, parameters)[0]
        except DatabaseTimeout:
            self._size.timed_out()
            raise
        if changes:
            self._size.took(time.monotonic() - started)
        has_more = changes > 0 or self._from_customer != FIRST_CUSTOMER
        is_full = customers == MAX_CUSTOMERS_PER_STEP
        self._from_customer = _next_customer(last) if is_full else FIRST_CUSTOMER
        pairs = zip(map(UUID, job_ids), map(UUID, endpoint_ids), strict=True)
        return FanOutStep(has_more, list(pairs))


def _next_customer(customer: UUID) -> UUID:
    return UUID(int=(customer.int + 1) % 2**128)
