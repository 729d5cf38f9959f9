-- remove_deliveries_of_job
--
-- Of the job's next `limit` deliveries, those that are not pending are deleted. Returns the key of
-- the last one.
--
-- Parameters: job_id, after_seq, after_endpoint, limit

WITH batch AS MATERIALIZED (
    SELECT d.seq, d.endpoint_id
    FROM webhook_deliveries d
    WHERE d.job_id = %(job_id)s::uuid
        AND (d.seq, d.endpoint_id) > (%(after_seq)s::bigint, %(after_endpoint)s::uuid)
    ORDER BY d.seq, d.endpoint_id
    LIMIT (SELECT %(limit)s::int)
),
deleted AS (
    DELETE FROM webhook_deliveries d
    USING unnest(ARRAY(SELECT seq FROM batch), ARRAY(SELECT endpoint_id FROM batch)) AS b (
        seq, endpoint_id
    )
    WHERE d.job_id = %(job_id)s::uuid
        AND d.seq = b.seq
        AND d.endpoint_id = b.endpoint_id
        AND (d.status <> 'pending') IS TRUE
)
SELECT seq, endpoint_id
FROM batch
ORDER BY seq DESC, endpoint_id DESC
LIMIT 1
