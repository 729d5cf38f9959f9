-- verify_ends_of_histories
--
-- Of the next `limit` jobs by id: how many there were, the id of the last one, and the jobs whose
-- last events are missing, with the number of their last event. Each job must have at least one
-- event, even if its version says otherwise. The subquery in LIMIT hides the number from the
-- planner: row security makes it expect very few jobs, and with a known limit it would sort all
-- jobs instead of reading them by their key.
--
-- Parameters: after, at_first, limit

WITH batch AS MATERIALIZED (
    SELECT j.id, greatest(j.version, 1) AS version
    FROM scrape_jobs j
    WHERE j.id >= %(after)s::uuid AND (%(at_first)s::bool OR j.id <> %(after)s::uuid)
    ORDER BY j.id
    LIMIT (SELECT %(limit)s::int)
),
short AS (
    SELECT b.id, coalesce(l.seq, 0) AS seq
    FROM batch b
    LEFT JOIN LATERAL (
        SELECT e.seq FROM job_events e WHERE e.job_id = b.id ORDER BY e.seq DESC LIMIT 1
    ) AS l ON true
    WHERE coalesce(l.seq, 0) < b.version
)
SELECT (SELECT count(*) FROM batch), (SELECT id FROM batch ORDER BY id DESC LIMIT 1), s.id, s.seq
FROM short s RIGHT
JOIN (VALUES (1)) AS always (one) ON true
ORDER BY s.id
