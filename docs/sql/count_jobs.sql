-- count_jobs
--
-- The number of jobs: an estimate above 100,000, exact otherwise.
--
-- Parameters: none

SELECT CASE
    WHEN c.reltuples > 100000 THEN c.reltuples::bigint ELSE (SELECT count(*) FROM scrape_jobs)
END
FROM pg_class c
WHERE c.oid = 'scrape_jobs'::regclass
