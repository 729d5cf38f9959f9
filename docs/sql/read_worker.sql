-- read_worker
--
-- The id of the worker that holds the job or held it last.
--
-- Parameters: id, tenant

SELECT j.worker_id
FROM scrape_jobs j
WHERE j.id = %(id)s::uuid AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
