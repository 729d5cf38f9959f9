-- count_running
--
-- Parameters: domain
-- Row security: all customers

SELECT count(*)
FROM scrape_jobs j
WHERE (j.status = 'running') IS TRUE AND j.domain = %(domain)s::text
