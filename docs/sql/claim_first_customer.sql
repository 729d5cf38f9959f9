-- claim_first_customer
--
-- At most one job for each of the `tokens` runs from now on, leased to this worker, of the first
-- `candidates` due jobs; see claim_jobs_1. The last row returns how many candidates were skipped.
--
-- Parameters: tenant, candidates, domain_limit, tokens, worker_id, lease_seconds, following,
-- provenance
-- Row security: all customers

WITH candidate AS MATERIALIZED (
    SELECT f.*
    FROM generate_series(1, 10) AS p (priority)
    CROSS JOIN (VALUES (1)) AS v (value)
    CROSS JOIN LATERAL (
        SELECT
            j.id,
            j.domain,
            j.max_concurrent,
            greatest(j.scheduled_for, j.created_at) - j.priority * interval '14400 seconds' AS rank
        FROM scrape_jobs j
        WHERE CASE
            j.status || ' in customer_due' WHEN 'pending in customer_due' THEN true ELSE false
        END
            AND j.priority = p.priority
            AND greatest(j.scheduled_for, j.created_at) <= now()
            AND j.customer_config_id = %(tenant)s::uuid
            AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
        ORDER BY greatest(j.scheduled_for, j.created_at), j.id
        LIMIT %(candidates)s::int
    ) AS f
    ORDER BY f.rank, f.id
    LIMIT %(candidates)s::int
),
claimed AS MATERIALIZED (
    SELECT job.*
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
        %(following)s::jsonb,
        %(provenance)s::jsonb
    ) AS job
)
SELECT c.rank, j.id, j.token, j.job, NULL, NULL, NULL
FROM claimed j
JOIN candidate c ON c.id = j.id
UNION ALL
SELECT NULL
    ,
    NULL,
    NULL,
    NULL,
    (SELECT count(*) FROM candidate) - (SELECT count(*) FROM claimed),
    false,
    false
ORDER BY rank, id
