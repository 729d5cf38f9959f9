-- drop_webhook_deliveries
--
-- At most `limit` deliveries to the endpoint are deleted. The row has their number, and whether
-- more may be left.
--
-- Parameters: endpoint_id, limit
-- Row security: all customers

WITH step AS MATERIALIZED (
    SELECT d.job_id, d.seq
    FROM webhook_deliveries d
    WHERE d.endpoint_id = %(endpoint_id)s::uuid
    ORDER BY d.status, d.created_at, d.id
    LIMIT (SELECT %(limit)s::int)
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM webhook_deliveries d
    USING unnest(ARRAY(SELECT job_id FROM step), ARRAY(SELECT seq FROM step)) AS s (job_id, seq)
    WHERE d.job_id = s.job_id AND d.seq = s.seq AND d.endpoint_id = %(endpoint_id)s::uuid
)
SELECT count(*), count(*) >= %(limit)s::int
FROM step
