-- claim_webhook_deliveries
--
-- At most `limit` due deliveries belong to this claim alone for `lease_seconds`. An endpoint gets
-- at most as many as it has capacity for. Of each job and endpoint only the first pending delivery
-- is claimed; an earlier change of the job that is still in the outbox, and not yet served to the
-- endpoint, comes first, too. Customers take turns, and so do the endpoints of each customer. Of
-- the untrusted endpoints of one customer at most `untrusted` deliveries are held. Due deliveries
-- that wait for an earlier one are postponed, so that no later claim examines them again; the rows
-- without a seq name them.
--
-- Parameters: endpoints, capacities, held, trusted, capacity, postpone, max_postpone,
-- max_postponed, limit, untrusted, claim, lease_seconds

WITH
-- The endpoints that this dispatcher knows: their capacity, held deliveries, and trust.
share AS MATERIALIZED (
    SELECT *
    FROM unnest(%(endpoints)s::uuid[], %(capacities)s::int[], %(held)s::int[], %(trusted)s::bool[])
        AS s (endpoint_id, capacity, held, trusted)
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
        sum(coalesce(s.held, 0)) FILTER (WHERE s.trusted IS NOT TRUE) OVER (
            PARTITION BY w.customer_config_id
        ) AS customer_untrusted
    FROM webhook_endpoints w
    LEFT JOIN share s ON s.endpoint_id = w.id
    WHERE w.active
),
-- The due deliveries of each endpoint, by its own index. Twice its capacity, because other
-- dispatchers may hold some and some may have to wait. waits_until is null for a delivery that
-- is first in its order; otherwise it is the time until which it is postponed.
due AS MATERIALIZED (
    SELECT
        d.*,
        w.customer,
        w.capacity,
        w.held,
        w.trusted,
        w.customer_held,
        w.customer_untrusted,
        CASE
            WHEN earlier.seq IS NOT NULL
                THEN greatest(
                    earlier.next_try_at,
                    now() + make_interval(
                        secs => least(
                            %(postpone)s::int + d.seq - earlier.seq, %(max_postpone)s::int
                        )
                    )
                )
            WHEN EXISTS (
                SELECT
                FROM outbox o
                WHERE o.job_id = d.job_id AND o.seq < d.seq AND o.served_to < d.endpoint_id
            )
                THEN now() + interval '1 second'
        END AS waits_until
    FROM endpoint w
    CROSS JOIN LATERAL (
        SELECT d.job_id, d.seq, d.endpoint_id, d.next_try_at
        FROM webhook_deliveries d
        WHERE d.endpoint_id = w.id AND d.status = 'pending' AND d.next_try_at <= now()
        ORDER BY d.next_try_at
        LIMIT 2 * w.capacity
    ) AS d
    LEFT JOIN LATERAL (
        SELECT e.seq, e.next_try_at
        FROM webhook_deliveries e
        WHERE e.endpoint_id = d.endpoint_id
            AND e.job_id = d.job_id
            AND e.status = 'pending'
            AND e.seq < d.seq
        ORDER BY e.seq
        LIMIT 1
    ) AS earlier ON true
),
-- The deliveries to postpone, locked: another dispatcher may have settled them meanwhile.
waiting AS MATERIALIZED (
    SELECT d.job_id, d.seq, d.endpoint_id, x.waits_until
    FROM (SELECT * FROM due WHERE waits_until IS NOT NULL LIMIT %(max_postponed)s::int) AS x
    CROSS JOIN LATERAL (
        SELECT d.job_id, d.seq, d.endpoint_id
        FROM webhook_deliveries d
        WHERE d.job_id = x.job_id
            AND d.seq = x.seq
            AND d.endpoint_id = x.endpoint_id
            AND (d.status = 'pending') IS TRUE
            AND (d.next_try_at <= now()) IS TRUE
        FOR UPDATE SKIP LOCKED
    ) AS d
),
postponed AS (
    UPDATE webhook_deliveries d
    SET next_try_at = x.waits_until, claim = NULL
    FROM unnest(
        ARRAY(SELECT job_id FROM waiting),
        ARRAY(SELECT seq FROM waiting),
        ARRAY(SELECT endpoint_id FROM waiting),
        ARRAY(SELECT waits_until FROM waiting)
    ) AS x (job_id, seq, endpoint_id, waits_until)
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
    FROM due x
    WHERE x.waits_until IS NULL
),
-- The first ones, when customers and their endpoints take turns. Twice the limit, because the
-- next steps leave some out. Only these are locked.
first AS MATERIALIZED (
    SELECT
        x.*,
        x.customer_held + row_number() OVER (
            PARTITION BY x.customer ORDER BY x.held + x.nth, x.chance
        ) AS turn
    FROM numbered x
    ORDER BY turn, chance
    LIMIT 2 * %(limit)s::int
),
-- Without those that another dispatcher has locked or claimed since.
free AS MATERIALIZED (
    SELECT x.*
    FROM first x
    CROSS JOIN LATERAL (
        SELECT d.job_id, d.seq, d.endpoint_id
        FROM webhook_deliveries d
        WHERE d.job_id = x.job_id
            AND d.seq = x.seq
            AND d.endpoint_id = x.endpoint_id
            AND (d.status = 'pending') IS TRUE
            AND (d.next_try_at <= now()) IS TRUE
        FOR UPDATE SKIP LOCKED
    ) AS d
),
-- At most as many of each endpoint as it has capacity for; then numbered within the customer.
roomy AS (
    SELECT
        x.*,
        row_number() OVER (PARTITION BY x.customer, x.trusted ORDER BY x.turn) AS customer_nth
    FROM (
        SELECT
            f.*,
            row_number() OVER (PARTITION BY f.endpoint_id ORDER BY f.next_try_at) AS endpoint_nth
        FROM free f
    ) AS x
    WHERE x.endpoint_nth <= x.capacity
),
-- Without those of untrusted endpoints above the bound of their customer.
picked AS MATERIALIZED (
    SELECT x.job_id, x.seq, x.endpoint_id
    FROM roomy x
    WHERE x.customer IS NULL
        OR x.trusted
        OR x.customer_nth + coalesce(x.customer_untrusted, 0) <= %(untrusted)s::int
    ORDER BY x.turn, x.chance
    LIMIT %(limit)s::int
),
-- A claimed delivery is due again when its lease expires, in case the dispatcher is killed.
claimed AS (
    UPDATE webhook_deliveries d
    SET claim = %(claim)s::uuid, next_try_at = now() + make_interval(secs => %(lease_seconds)s::int)
    FROM unnest(
        ARRAY(SELECT job_id FROM picked),
        ARRAY(SELECT seq FROM picked),
        ARRAY(SELECT endpoint_id FROM picked)
    ) AS p (job_id, seq, endpoint_id)
    JOIN webhook_endpoints w ON w.id = p.endpoint_id
    WHERE d.job_id = p.job_id AND d.seq = p.seq AND d.endpoint_id = p.endpoint_id
    RETURNING
        d.job_id,
        d.seq,
        d.endpoint_id,
        d.id,
        d.body,
        d.failures,
        w.url,
        w.secret,
        CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END,
        w.headers,
        w.failing_since,
        extract(epoch FROM now() - d.created_at)::float8
)
SELECT *
FROM claimed
UNION ALL
SELECT job_id, NULL, endpoint_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM postponed
