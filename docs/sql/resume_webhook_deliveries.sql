-- resume_webhook_deliveries
--
-- Of each job and endpoint the first pending delivery is due, if it was postponed to wait for
-- another. It runs after the commit that ended the other delivery, and after the commit that
-- postponed one: either run sees the other's writes, so no delivery waits for one that has ended.
--
-- Parameters: job_ids, endpoint_ids

UPDATE webhook_deliveries d
SET next_try_at = now()
FROM (SELECT DISTINCT * FROM unnest(%(job_ids)s::uuid[], %(endpoint_ids)s::uuid[])) AS p (
    job_id, endpoint_id
)
CROSS JOIN LATERAL (
    SELECT e.seq
    FROM webhook_deliveries e
    WHERE e.endpoint_id = p.endpoint_id AND e.job_id = p.job_id AND e.status = 'pending'
    ORDER BY e.seq
    LIMIT 1
) AS first
WHERE d.job_id = p.job_id
    AND d.seq = first.seq
    AND d.endpoint_id = p.endpoint_id
    AND (d.status = 'pending') IS TRUE
    AND d.failures = 0
    AND d.claim IS NULL
    AND d.next_try_at > now()
RETURNING true
