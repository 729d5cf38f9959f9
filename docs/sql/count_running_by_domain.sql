-- count_running_by_domain
--
-- The number of running jobs of each domain.
--
-- Parameters: none
-- Row security: all customers

SELECT j.domain, count(*) FROM scrape_jobs j WHERE (j.status = 'running') IS TRUE GROUP BY j.domain
