-- lock_job_if_free
--
-- The job's row is locked until the transaction ends. No row: another transaction holds the lock,
-- or the job does not exist. It never waits.
--
-- Parameters: id, tenant

SELECT true
FROM scrape_jobs j
WHERE j.id = %(id)s::uuid AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
FOR NO KEY UPDATE SKIP LOCKED
