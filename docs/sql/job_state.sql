-- job_state
--
-- The job's version and status, or no row if the job does not exist. One lookup by the primary key.
--
-- Parameters: id, tenant

SELECT j.version, j.status
FROM scrape_jobs j
WHERE j.id = %(id)s::uuid AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
