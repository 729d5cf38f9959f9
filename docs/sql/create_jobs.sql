-- create_jobs
--
-- The result of the function create_jobs_1: all jobs are stored with their first events, or none.
--
-- Parameters: jobs, provenance, rules

SELECT * FROM create_jobs_1(%(jobs)s, %(provenance)s, %(rules)s)
