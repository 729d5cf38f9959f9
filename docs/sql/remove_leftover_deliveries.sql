-- remove_leftover_deliveries
--
-- Of the next `limit` deliveries to the endpoint with the status that are older than `before`,
-- those without a job are deleted; with `with_job`, all of them. The row has their number and the
-- last position.
--
-- Parameters: endpoint_id, status, before, after_at, after_id, limit, with_job

WITH step AS MATERIALIZED (
    SELECT d.job_id, d.seq, d.created_at, d.id
    FROM webhook_deliveries d
    WHERE d.endpoint_id = %(endpoint_id)s::uuid
        AND d.status = %(status)s::text
        AND d.created_at < %(before)s::timestamptz
        AND (d.created_at, d.id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
    ORDER BY d.created_at, d.id
    LIMIT (SELECT %(limit)s::int)
),
chosen AS MATERIALIZED (
    SELECT s.*
    FROM step s
    -- Not NOT EXISTS, which the planner may turn into a scan of all jobs.
    WHERE %(with_job)s::bool OR (SELECT j.id FROM scrape_jobs j WHERE j.id = s.job_id) IS NULL
),
deleted AS (
    DELETE FROM webhook_deliveries d
    USING unnest(ARRAY(SELECT job_id FROM chosen), ARRAY(SELECT seq FROM chosen)) AS c (job_id, seq)
    WHERE d.job_id = c.job_id
        AND d.seq = c.seq
        AND d.endpoint_id = %(endpoint_id)s::uuid
        AND (d.status = %(status)s::text) IS TRUE
    RETURNING 1
)
SELECT
    (SELECT count(*) FROM deleted),
    (SELECT created_at FROM step ORDER BY created_at DESC, id DESC LIMIT 1),
    (SELECT id FROM step ORDER BY created_at DESC, id DESC LIMIT 1)
