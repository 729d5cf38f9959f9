"""The fan-out: makes the deliveries of status changes, in steps of bounded time, with turns between customers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app import database
from app.batch_size import BatchSize
from app.database import Statement
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
    # Promises: at most about `limit` deliveries come to stand, shared between the customers from `from_customer` on,
    # of each customer for its oldest changes. A change leaves the outbox in the transaction in which its last delivery
    # is made; one that is served in part keeps the id of the last endpoint that it was served to. Several dispatchers
    # take different changes. A delivery that has to wait for an earlier one of its job is put off. The row holds the
    # number of changes, the next customer whose turn it is, and the jobs and endpoints of what was put off.
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
        SELECT t.job_id, t.seq, t.served_to, t.deliveries, e.new_status, j.domain, j.job_type, j.customer_config_id
        FROM taken t JOIN job_events e USING (job_id, seq) JOIN scrape_jobs j ON j.id = t.job_id
    ), wanted AS MATERIALIZED (
        SELECT c.job_id, c.seq, w.id AS endpoint_id FROM change c CROSS JOIN LATERAL (
            SELECT w.id FROM webhook_endpoints w WHERE w.active AND w.id > c.served_to AND {wants("w", "c")}
            ORDER BY w.id LIMIT c.deliveries
        ) AS w
    ), endpoint AS MATERIALIZED (
        -- Whose deletion waits until the deliveries are there to be removed, too.
        SELECT w.id FROM webhook_endpoints w WHERE w.id IN (SELECT endpoint_id FROM wanted) AND w.active FOR KEY SHARE
    ), delivery AS MATERIALIZED (
        SELECT x.*, row_number() OVER (PARTITION BY x.job_id, x.endpoint_id ORDER BY x.seq) > 1
            OR EXISTS (SELECT FROM webhook_deliveries d WHERE d.endpoint_id = x.endpoint_id AND d.job_id = x.job_id
                AND d.status = 'pending' AND d.seq < x.seq) AS waits
        FROM wanted x JOIN endpoint w ON w.id = x.endpoint_id
    ), message AS MATERIALIZED (
        SELECT e.job_id, e.seq, {body("e", "j")} AS body FROM (SELECT DISTINCT job_id, seq FROM delivery) AS x
        JOIN job_events e USING (job_id, seq) JOIN scrape_jobs j ON j.id = e.job_id
    ), made AS (
        INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, next_try_at, created_at)
        SELECT x.job_id, x.seq, x.endpoint_id, {webhook_id("x.job_id", "x.seq", "x.endpoint_id")}, m.body,
            now() + make_interval(secs => CASE WHEN x.waits THEN %(put_off)s::int ELSE 0 END), now()
        FROM delivery x JOIN message m USING (job_id, seq)
        ON CONFLICT (job_id, seq, endpoint_id) DO NOTHING -- a replay was earlier
    ), served AS MATERIALIZED (
        SELECT c.job_id, c.seq, (array_agg(x.endpoint_id ORDER BY x.endpoint_id DESC))[1] AS last
        FROM change c JOIN wanted x USING (job_id, seq) GROUP BY c.job_id, c.seq, c.deliveries
        HAVING count(*) >= c.deliveries
    ), moved AS (
        UPDATE outbox o SET served_to = s.last FROM served s WHERE o.job_id = s.job_id AND o.seq = s.seq
    ), gone AS (
        DELETE FROM outbox o USING taken t WHERE o.job_id = t.job_id AND o.seq = t.seq
            AND NOT EXISTS (SELECT FROM served s WHERE s.job_id = t.job_id AND s.seq = t.seq)
    )
    SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM turn),
        (SELECT customer FROM turn ORDER BY customer DESC LIMIT 1),
        ARRAY(SELECT job_id::text FROM delivery WHERE waits ORDER BY job_id, endpoint_id),
        ARRAY(SELECT endpoint_id::text FROM delivery WHERE waits ORDER BY job_id, endpoint_id)
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
        pairs = [(UUID(job), UUID(endpoint)) for job, endpoint in zip(job_ids, endpoint_ids, strict=True)]
        return Step(has_more, pairs)


def _following(customer: UUID) -> UUID:
    return UUID(int=(customer.int + 1) % 2**128)
