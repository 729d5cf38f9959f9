-- changed_jobs
--
-- At most `limit` jobs that were changed at or after a time, oldest change first, after the
-- position of the last job that is known already. By the index of the list.
--
-- Parameters: since, after, tenant, limit

SELECT j.id, j.version, j.updated_at, j.customer_config_id, j.domain, j.job_type, j.created_at
FROM scrape_jobs j
WHERE (j.updated_at, j.id) > (%(since)s::timestamptz, %(after)s::uuid)
    AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
ORDER BY j.updated_at, j.id
LIMIT %(limit)s::int
