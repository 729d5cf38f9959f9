-- lock_documents
--
-- Parameters: id, tenant

SELECT j.status, j.stats, j.metadata, j.config
FROM scrape_jobs j
WHERE j.id = %(id)s::uuid AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
FOR NO KEY UPDATE
