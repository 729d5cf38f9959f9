-- count_pending_webhooks
--
-- The number of pending deliveries plus the number of status changes before their fan-out, each
-- exact up to MAX_COUNTED; and the seconds that the oldest of these changes has waited. The time
-- does not grow with the tables.
--
-- Parameters: none

WITH RECURSIVE customer AS (
    (SELECT o.customer AS id, o.created_at FROM outbox o ORDER BY o.customer, o.created_at LIMIT 1)
        UNION ALL SELECT n.* FROM customer c CROSS JOIN LATERAL (
        SELECT o.customer, o.created_at
        FROM outbox o
        WHERE o.customer > c.id
        ORDER BY o.customer, o.created_at
        LIMIT 1
    ) AS n
),
counted AS (
    SELECT
        (
            SELECT count(*)
            FROM (SELECT FROM webhook_deliveries WHERE status = 'pending' LIMIT 100000) AS d
        ) AS deliveries,
        (SELECT count(*) FROM (SELECT FROM outbox LIMIT 100000) AS o) AS changes
),
estimated AS (
    SELECT
        (SELECT reltuples FROM pg_class WHERE oid = 'webhook_deliveries_order'::regclass)
            AS deliveries,
        (SELECT reltuples FROM pg_class WHERE oid = 'outbox'::regclass) AS changes
)
SELECT
    (
        CASE
            WHEN c.deliveries < 100000 THEN c.deliveries ELSE greatest(c.deliveries, e.deliveries)
        END + CASE WHEN c.changes < 100000 THEN c.changes ELSE greatest(c.changes, e.changes) END
    )::bigint,
    coalesce(
        extract(
            epoch FROM now() - (
                SELECT min(created_at) FROM (SELECT * FROM customer LIMIT 10000) AS o
            )
        ),
        0
    )::float8
FROM counted c, estimated e
