-- claim_customer
--
-- At most `limit` of the due jobs that come next run from now on, leased to this worker; see
-- claim_jobs_1. The last row returns the number of candidates, whether a partition was cut off, and
-- whether another claim may find more.
--
-- Parameters: window, domains, job_types, tenant, domain_limit, candidates, tokens, worker_id,
-- lease_seconds, allowed_transitions, provenance
-- Row security: all customers

WITH found AS MATERIALIZED (
    SELECT
        concat_ws(' ', v.value, p.priority) AS partition_key,
        f.id,
        f.domain,
        f.max_concurrent,
        f.rank,
        f.free_slots,
        f.ready,
        f.position = %(window)s::int AS cut_off
    FROM generate_series(1, 10) AS p (priority)
    CROSS JOIN (VALUES (1)) AS v (value)
    CROSS JOIN LATERAL (
        SELECT w.*, w.matches AND coalesce(w.free_slots > 0, true) AS ready
        FROM (
            SELECT s.*, row_number() OVER (ORDER BY s.due_at) AS position
            FROM (
                SELECT
                    j.id,
                    j.domain,
                    j.max_concurrent,
                    greatest(j.scheduled_for, j.created_at) AS due_at,
                    greatest(j.scheduled_for, j.created_at) - j.priority * interval '14400 seconds'
                        AS rank,
                    (%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))
                        AND (
                            %(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[])
                        )
                        AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
                            AS matches,
                    CASE
                        WHEN least(%(domain_limit)s::int, j.max_concurrent) IS NOT NULL
                            THEN least(%(domain_limit)s::int, j.max_concurrent) - (
                                SELECT count(*)
                                FROM (
                                    SELECT
                                    FROM scrape_jobs r
                                    WHERE (r.status = 'running') IS TRUE AND r.domain = j.domain
                                    LIMIT least(%(domain_limit)s::int, j.max_concurrent)
                                ) AS r
                            )
                    END AS free_slots
                FROM scrape_jobs j
                WHERE CASE
                    j.status || ' in customer_due'
                    WHEN 'pending in customer_due' THEN true
                    ELSE false
                END
                    AND j.priority = p.priority
                    AND greatest(j.scheduled_for, j.created_at) <= now()
                    AND j.customer_config_id = %(tenant)s::uuid
                ORDER BY greatest(j.scheduled_for, j.created_at)
                LIMIT %(window)s::int
            ) AS s
        ) AS w
        WHERE (w.matches AND coalesce(w.free_slots > 0, true)) OR w.position = %(window)s::int
        ORDER BY w.due_at
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
    SELECT n.id, n.domain, n.max_concurrent, n.rank
    FROM
        (
            SELECT f.*, row_number() OVER (PARTITION BY f.domain ORDER BY f.rank, f.id) AS nth
            FROM found f
            WHERE f.ready
        ) AS n,
        cut,
        horizon
    WHERE NOT cut.off
        AND coalesce(n.nth <= n.free_slots, true)
        AND coalesce(n.rank <= horizon.rank, true)
    ORDER BY n.rank, n.id
    LIMIT %(candidates)s::int
)
SELECT c.rank, claimed.id, claimed.token, claimed.job, NULL, NULL, NULL
FROM (
    SELECT
        array_agg(c.id ORDER BY c.rank, c.id) AS ids,
        array_agg(c.domain ORDER BY c.rank, c.id) AS domains,
        array_agg(c.max_concurrent ORDER BY c.rank, c.id) AS limits
    FROM candidate c
) AS a
CROSS JOIN claim_jobs_1(
    a.ids,
    a.domains,
    a.limits,
    %(domain_limit)s::int,
    %(tokens)s::text[],
    %(worker_id)s::text,
    %(lease_seconds)s::int,
    %(allowed_transitions)s::json,
    %(provenance)s::jsonb
) AS claimed
JOIN candidate c ON c.id = claimed.id
UNION ALL
SELECT NULL
    ,
    NULL,
    NULL,
    NULL,
    (SELECT count(*) FROM candidate),
    (SELECT off FROM cut),
    (SELECT count(*) FROM found WHERE ready) > (SELECT count(*) FROM candidate)
ORDER BY rank, id
