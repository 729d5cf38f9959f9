-- lock_documents
--
-- The job's status and documents, or no row if the job does not exist. The row is locked: no other
-- transaction changes it until this one ends.
--
-- Parameters: id, tenant

SELECT j.status, j.stats, j.metadata, j.config
FROM scrape_jobs j
WHERE j.id = %(id)s::uuid AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
FOR NO KEY UPDATE
