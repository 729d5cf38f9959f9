-- place_in_queue
--
-- How many due jobs come before the job, counted up to MAX_COUNTED_JOBS of each priority, and its
-- concurrency limits; or no row if the job does not exist.
--
-- Parameters: tenant, domain_limit, id
-- Row security: all customers

SELECT
    j.status,
    j.priority,
    j.domain,
    to_char(
        greatest(j.scheduled_for, j.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
    ),
    greatest(j.scheduled_for, j.created_at) <= now(),
    (
        SELECT sum(part.ahead)::bigint
        FROM (
            SELECT (
                SELECT count(*)
                FROM (
                    SELECT
                    FROM scrape_jobs o
                    WHERE CASE o.status || ' in due' WHEN 'pending in due' THEN true ELSE false END
                        AND o.priority = p.priority
                        AND (%(tenant)s::uuid IS NULL OR o.customer_config_id = %(tenant)s::uuid)
                        AND (greatest(o.scheduled_for, o.created_at), o.id) < (
                            greatest(j.scheduled_for, j.created_at) + (p.priority - j.priority) *
                                interval '14400 seconds',
                            j.id
                        )
                        AND greatest(o.scheduled_for, o.created_at) <= now()
                    LIMIT 10000
                ) AS c
            ) AS ahead
            FROM generate_series(1, 10) AS p (priority)
        ) AS part
    ) AS ahead,
    least(%(domain_limit)s::int, j.max_concurrent),
    j.max_concurrent,
    CASE
        WHEN least(%(domain_limit)s::int, j.max_concurrent) IS NOT NULL
            THEN (
                SELECT count(*)
                FROM scrape_jobs r
                WHERE (r.status = 'running') IS TRUE
                    AND r.domain = j.domain
                    AND (%(tenant)s::uuid IS NULL OR r.customer_config_id = %(tenant)s::uuid)
            )
    END
FROM scrape_jobs j
WHERE j.id = %(id)s::uuid AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
