-- events_of_job
--
-- The next `limit` events of one job with all their columns, oldest first.
--
-- Parameters: job_id, after_seq, at_first, limit

SELECT
    e.seq,
    (
        SELECT row_to_json(r)::text
        FROM (
            SELECT
                e.job_id,
                e.seq,
                e.at,
                e.old_status,
                e.new_status,
                e.changes,
                e.stats,
                e.previous_seq,
                e.retry_count,
                e.seconds,
                e.error_message,
                e.action,
                e.actor_type,
                e.actor_id,
                e.actor_name,
                e.request_id,
                e.address,
                encode(e.hash, 'hex') AS hash
        ) AS r
    )
FROM job_events e
WHERE e.job_id = %(job_id)s::uuid
    AND e.seq >= %(after_seq)s::bigint
    AND (%(at_first)s::bool OR e.seq <> %(after_seq)s::bigint)
ORDER BY e.seq
LIMIT %(limit)s::int
