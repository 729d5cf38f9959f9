-- next_domains
--
-- At most `shown` of the jobs that a claim would return now if it were the only one, as many as fit
-- a page. The last row returns whether a partition was cut off.
--
-- Parameters: domains, domain_limit, job_types, tenant, candidates, shown
-- Row security: all customers

WITH found AS MATERIALIZED (
    SELECT
        concat_ws(' ', part.domain, part.priority, part.own_limit) AS partition_key,
        f.id,
        part.domain,
        f.rank,
        part.free_slots,
        true AS ready,
        false AS cut_off
    FROM (
        SELECT part.*
        FROM unnest(%(domains)s::text[]) AS domains (domain)
        CROSS JOIN LATERAL (
            WITH RECURSIVE part (domain, priority, own_limit) AS (
                (
                    SELECT domains.domain, j.priority, coalesce(j.max_concurrent, 0)
                    FROM scrape_jobs j
                    WHERE CASE
                        j.status || ' in domain_due'
                        WHEN 'pending in domain_due' THEN true
                        ELSE false
                    END
                        AND j.domain = domains.domain
                    ORDER BY j.priority, coalesce(j.max_concurrent, 0)
                    LIMIT 1
                ) UNION ALL SELECT n.* FROM part CROSS JOIN LATERAL (
                    SELECT domains.domain, j.priority, coalesce(j.max_concurrent, 0)
                    FROM scrape_jobs j
                    WHERE CASE
                        j.status || ' in domain_due'
                        WHEN 'pending in domain_due' THEN true
                        ELSE false
                    END
                        AND j.domain = domains.domain
                        AND (j.priority, coalesce(j.max_concurrent, 0)) > (
                            part.priority, part.own_limit
                        )
                    ORDER BY j.priority, coalesce(j.max_concurrent, 0)
                    LIMIT 1
                ) AS n
            )
            SELECT *
            FROM (
                SELECT
                    part.*,
                    CASE
                        WHEN least(%(domain_limit)s::int, nullif(part.own_limit, 0)) IS NOT NULL
                            THEN least(%(domain_limit)s::int, nullif(part.own_limit, 0)) - (
                                SELECT count(*)
                                FROM (
                                    SELECT
                                    FROM scrape_jobs r
                                    WHERE (r.status = 'running') IS TRUE AND r.domain = part.domain
                                    LIMIT least(%(domain_limit)s::int, nullif(part.own_limit, 0))
                                ) AS r
                            )
                    END AS free_slots
                FROM part
            ) AS part
            WHERE coalesce(part.free_slots > 0, true)
        ) AS part
        CROSS JOIN LATERAL (
            SELECT
                j.id,
                greatest(j.scheduled_for, j.created_at) - j.priority * interval '14400 seconds'
                    AS rank
            FROM scrape_jobs j
            WHERE CASE
                j.status || ' in domain_due' WHEN 'pending in domain_due' THEN true ELSE false
            END
                AND j.domain = part.domain
                AND j.priority = part.priority
                AND coalesce(j.max_concurrent, 0) = part.own_limit
                AND greatest(j.scheduled_for, j.created_at) <= now()
                AND (%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))
                AND (%(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[]))
                AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
            ORDER BY greatest(j.scheduled_for, j.created_at)
            LIMIT 1
        ) AS first
        ORDER BY first.rank
        LIMIT %(candidates)s::int
    ) AS part
    CROSS JOIN LATERAL (
        SELECT
            j.id,
            greatest(j.scheduled_for, j.created_at) - j.priority * interval '14400 seconds' AS rank
        FROM scrape_jobs j
        WHERE CASE
            j.status || ' in domain_due' WHEN 'pending in domain_due' THEN true ELSE false
        END
            AND j.domain = part.domain
            AND j.priority = part.priority
            AND coalesce(j.max_concurrent, 0) = part.own_limit
            AND greatest(j.scheduled_for, j.created_at) <= now()
            AND (%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))
            AND (%(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[]))
            AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
        ORDER BY greatest(j.scheduled_for, j.created_at)
        LIMIT %(candidates)s::int
    ) AS f
),
cut AS MATERIALIZED (SELECT coalesce(bool_or(f.cut_off), false) AS off FROM found f),
horizon AS MATERIALIZED (
    -- A partition that was read to its limit has more jobs. They may come before jobs of
    -- other partitions, but not before the last job that was read.
    SELECT min(l.last) AS rank
    FROM (
        SELECT max(f.rank) AS last
        FROM found f
        GROUP BY f.partition_key
        HAVING count(*) >= %(candidates)s::int
    ) AS l
),
candidate AS MATERIALIZED (
    -- A job that exceeds its limit does not run, but the next ones of its domain count it. So
    -- the second one that seems to exceed its limit may be able to start: the domain is read
    -- no further, because a later job must not take its place.
    SELECT e.id, e.rank
    FROM
        (
            SELECT
                n.*,
                count(*) FILTER (WHERE n.nth > n.free_slots) OVER (
                    PARTITION BY n.domain ORDER BY n.rank, n.id
                ) AS exceeding
            FROM (
                SELECT f.*, row_number() OVER (PARTITION BY f.domain ORDER BY f.rank, f.id) AS nth
                FROM found f
                WHERE f.ready
            ) AS n
        ) AS e,
        cut,
        horizon
    WHERE NOT cut.off
        AND e.exceeding <= 1
        AND coalesce(e.nth <= e.free_slots, true)
        AND coalesce(e.rank <= horizon.rank, true)
    ORDER BY e.rank, e.id
    LIMIT %(candidates)s::int
)
SELECT s.rank, s.id, s.json, NULL
FROM (
    SELECT *
    FROM (
        SELECT
            r.*,
            count(*) OVER () AS found,
            sum(octet_length(r.json)) OVER (ORDER BY rank, id ROWS UNBOUNDED PRECEDING) -
                octet_length(r.json) AS bytes
        FROM (
            SELECT
                c.rank,
                j.id,
                (
                    SELECT row_to_json(r)::text
                    FROM (
                        SELECT
                            j.id,
                            j.domain_id,
                            j.customer_config_id,
                            j.domain,
                            j.job_type,
                            j.status,
                            j.priority,
                            j.retry_count,
                            j.max_retries,
                            j.config,
                            j.metadata,
                            to_char(
                                j.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                            ) AS started_at,
                            to_char(
                                j.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                            ) AS completed_at,
                            j.error_message,
                            j.stats,
                            to_char(
                                j.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                            ) AS created_at,
                            to_char(
                                j.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                            ) AS updated_at,
                            to_char(
                                j.scheduled_for AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                            ) AS scheduled_for,
                            CASE
                                WHEN j.status = 'failed' AND j.retry_count >= j.max_retries
                                    THEN '["cancelled"]'::json
                                WHEN j.status = 'pending' THEN '["running", "cancelled"]'::json
                                WHEN j.status = 'running'
                                    THEN '["completed", "failed", "cancelled"]'::json
                                WHEN j.status = 'completed' THEN '[]'::json
                                WHEN j.status = 'failed' THEN '["pending", "cancelled"]'::json
                                WHEN j.status = 'cancelled' THEN '[]'::json
                            END AS allowed_transitions,
                            to_char(
                                j.lease_expires_at AT TIME ZONE 'UTC',
                                'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                            ) AS lease_expires_at,
                            j.worker_id
                    ) AS r
                ) AS json
            FROM (SELECT * FROM candidate ORDER BY rank, id LIMIT %(shown)s::int) AS c
            JOIN scrape_jobs j ON j.id = c.id
        ) AS r
    ) AS p
    WHERE p.bytes < 2097152
    ORDER BY rank, id
) AS s
UNION ALL
SELECT NULL, NULL, NULL, (SELECT off FROM cut)
ORDER BY rank, id
