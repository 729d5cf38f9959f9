-- look_for_old_jobs
--
-- Of the next `limit` old jobs: how many can be removed, how many there are, and the time and id of
-- the last one.
--
-- Parameters: cutoff, after_time, after_id, limit

WITH old AS MATERIALIZED (
    SELECT j.id, j.updated_at, j.version, j.status
    FROM scrape_jobs j
    WHERE j.updated_at < %(cutoff)s::timestamptz
        AND (j.updated_at, j.id) > (%(after_time)s::timestamptz, %(after_id)s::uuid)
    ORDER BY j.updated_at, j.id
    LIMIT (SELECT %(limit)s::int)
),
prunable AS MATERIALIZED (
    SELECT o.id, o.updated_at, o.version
    FROM unnest(
        ARRAY(SELECT id FROM old),
        ARRAY(SELECT updated_at FROM old),
        ARRAY(SELECT version FROM old),
        ARRAY(SELECT status FROM old)
    ) AS o (id, updated_at, version, status)
    WHERE o.status IN ('completed', 'cancelled', 'failed')
        AND NOT EXISTS (
            SELECT FROM job_events e WHERE e.job_id = o.id AND e.at >= %(cutoff)s::timestamptz
        )
        AND NOT EXISTS (SELECT FROM outbox x WHERE x.job_id = o.id)
        AND NOT EXISTS (
            SELECT FROM webhook_deliveries d WHERE d.job_id = o.id AND d.status = 'pending'
        )
        AND NOT EXISTS (SELECT FROM uncounted_events u WHERE u.job_id = o.id)
)
SELECT
    (SELECT count(*) FROM prunable),
    (SELECT count(*) FROM old),
    (SELECT max(updated_at) FROM old),
    (SELECT id FROM old ORDER BY updated_at DESC, id DESC LIMIT 1)
