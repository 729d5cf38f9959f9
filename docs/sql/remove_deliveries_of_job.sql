-- remove_deliveries_of_job
--
-- Parameters: job_id, after_seq, after_endpoint, limit

WITH step AS MATERIALIZED (
    SELECT d.seq, d.endpoint_id
    FROM webhook_deliveries d
    WHERE d.job_id = %(job_id)s::uuid
        AND (d.seq, d.endpoint_id) > (%(after_seq)s::bigint, %(after_endpoint)s::uuid)
    ORDER BY d.seq, d.endpoint_id
    LIMIT (SELECT %(limit)s::int)
),
gone AS (
    DELETE FROM webhook_deliveries d
    USING unnest(ARRAY(SELECT seq FROM step), ARRAY(SELECT endpoint_id FROM step)) AS s (
        seq, endpoint_id
    )
    WHERE d.job_id = %(job_id)s::uuid
        AND d.seq = s.seq
        AND d.endpoint_id = s.endpoint_id
        AND (d.status <> 'pending') IS TRUE
)
SELECT seq, endpoint_id
FROM step
ORDER BY seq DESC, endpoint_id DESC
LIMIT 1
