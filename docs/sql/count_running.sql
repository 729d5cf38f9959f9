-- count_running
--
-- The number of running jobs of the domain.
--
-- Parameters: domain
-- Row security: all customers

SELECT count(*)
FROM scrape_jobs j
WHERE (j.status = 'running') IS TRUE AND j.domain = %(domain)s::text
