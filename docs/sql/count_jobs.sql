-- count_jobs
--
-- Parameters: none

SELECT CASE
    WHEN c.reltuples > 100000 THEN c.reltuples::bigint ELSE (SELECT count(*) FROM scrape_jobs)
END
FROM pg_class c
WHERE c.oid = 'scrape_jobs'::regclass
