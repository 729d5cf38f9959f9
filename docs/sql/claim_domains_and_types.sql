-- claim_domains_and_types
--
-- At most `limit` of the due jobs that come next run from now on, leased to this worker; see
-- claim_jobs_1. The last row returns the number of candidates, whether a partition was cut off, and
-- whether another claim may find more.
--
-- Parameters: domains, job_types, domain_limit, tenant, candidates, tokens, worker_id,
-- lease_seconds, allowed_transitions, provenance
-- Row security: all customers

WITH found AS MATERIALIZED (
    SELECT
        concat_ws(' ', part.domain, part.job_type, part.priority, part.own_limit) AS partition_key,
        f.id,
        part.domain,
        nullif(part.own_limit, 0) AS max_concurrent,
        f.rank,
        part.free_slots,
        true AS ready,
        false AS cut_off
    FROM (
        SELECT part.*
        FROM unnest(%(domains)s::text[]) AS domains (domain)
        CROSS JOIN unnest(%(job_types)s::text[]) AS job_types (job_type)
        CROSS JOIN LATERAL (
            WITH RECURSIVE part (domain, job_type, priority, own_limit) AS (
                (
                    SELECT
                        domains.domain,
                        job_types.job_type,
                        j.priority,
                        coalesce(j.max_concurrent, 0)
                    FROM scrape_jobs j
                    WHERE CASE
                        j.status || ' in domain_type_due'
                        WHEN 'pending in domain_type_due' THEN true
                        ELSE false
                    END
                        AND j.domain = domains.domain
                        AND j.job_type = job_types.job_type
                    ORDER BY j.priority, coalesce(j.max_concurrent, 0)
                    LIMIT 1
                ) UNION ALL SELECT n.* FROM part CROSS JOIN LATERAL (
                    SELECT
                        domains.domain,
                        job_types.job_type,
                        j.priority,
                        coalesce(j.max_concurrent, 0)
                    FROM scrape_jobs j
                    WHERE CASE
                        j.status || ' in domain_type_due'
                        WHEN 'pending in domain_type_due' THEN true
                        ELSE false
                    END
                        AND j.domain = domains.domain
                        AND j.job_type = job_types.job_type
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
                j.status || ' in domain_type_due'
                WHEN 'pending in domain_type_due' THEN true
                ELSE false
            END
                AND j.domain = part.domain
                AND j.job_type = part.job_type
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
            j.status || ' in domain_type_due' WHEN 'pending in domain_type_due' THEN true ELSE false
        END
            AND j.domain = part.domain
            AND j.job_type = part.job_type
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
