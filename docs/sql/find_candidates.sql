-- find_candidates
--
-- At most `candidates` due jobs of one priority, the longest due first, of domains that have not
-- reached their limit.
--
-- Parameters: domain_limit, priority, domains, job_types, tenant, busy_domains, running_jobs,
-- candidates

SELECT
    greatest(j.scheduled_for, j.created_at) - j.priority * interval '14400 seconds',
    j.id,
    j.domain,
    j.max_concurrent,
    least(%(domain_limit)s::int, j.max_concurrent)
FROM scrape_jobs j
WHERE CASE j.status || ' in due' WHEN 'pending in due' THEN true ELSE false END
    AND j.priority = %(priority)s::int
    AND greatest(j.scheduled_for, j.created_at) <= now()
    AND (%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))
    AND (%(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[]))
    AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
    AND NOT EXISTS (
        SELECT
        FROM unnest(%(busy_domains)s::text[], %(running_jobs)s::bigint[]) AS r (domain, jobs)
        WHERE r.domain = j.domain AND r.jobs >= least(%(domain_limit)s::int, j.max_concurrent)
    )
ORDER BY greatest(j.scheduled_for, j.created_at), j.id
LIMIT %(candidates)s::int
