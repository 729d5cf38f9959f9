-- queue_depth
--
-- The number of due jobs, and for how many seconds the oldest of them has been due.
--
-- Parameters: none

SELECT
    count(*),
    coalesce(extract(epoch FROM now() - min(greatest(j.scheduled_for, j.created_at))), 0)::float8
FROM scrape_jobs j
WHERE j.status = 'pending' AND greatest(j.scheduled_for, j.created_at) <= now()
