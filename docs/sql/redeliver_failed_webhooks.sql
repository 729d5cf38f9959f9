-- redeliver_failed_webhooks
--
-- Of the endpoint's deliveries that have failed since `since`, the next at most `limit` are due
-- now. The row has their number, whether there may be more, and the time at which the last of them
-- failed.
--
-- Parameters: endpoint_id, since, limit

WITH step AS MATERIALIZED (
    SELECT d.job_id, d.seq, d.endpoint_id, d.finished_at
    FROM webhook_deliveries d
    WHERE d.endpoint_id = %(endpoint_id)s::uuid
        AND d.status = 'failed'
        AND d.finished_at >= %(since)s::timestamptz
    ORDER BY d.finished_at
    LIMIT (SELECT %(limit)s::int)
    FOR UPDATE SKIP LOCKED
),
due AS (
    UPDATE webhook_deliveries d
    SET status = 'pending', failures = 0, finished_at = NULL, next_try_at = now()
    FROM unnest(ARRAY(SELECT job_id FROM step), ARRAY(SELECT seq FROM step)) AS s (job_id, seq)
    WHERE d.job_id = s.job_id AND d.seq = s.seq AND d.endpoint_id = %(endpoint_id)s::uuid
)
SELECT count(*), count(*) >= %(limit)s::int, max(finished_at)
FROM step
