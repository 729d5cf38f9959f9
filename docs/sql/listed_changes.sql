-- listed_changes
--
-- The change of each of these jobs: its newest event, the status before the first event after the
-- known version and the given time, and the fields that a list of jobs shows. All of one moment, in
-- the order of the changes. By primary keys.
--
-- Parameters: ids, known, since, tenant

SELECT
    j.id,
    j.version,
    j.updated_at,
    j.customer_config_id,
    j.domain,
    j.job_type,
    j.created_at,
    j.metadata -> 'tags',
    to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    e.action,
    first.old_status,
    e.new_status,
    ARRAY(
        SELECT f.value::text
        FROM json_each(
            (
                SELECT row_to_json(r)::text
                FROM (
                    SELECT
                        j.id,
                        j.domain_id,
                        j.customer_config_id,
                        j.domain,
                        j.job_type,
                        j.status,
                        j.priority,
                        j.retry_count,
                        j.max_retries,
                        to_char(j.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                            AS started_at,
                        to_char(j.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                            AS completed_at,
                        j.error_message,
                        j.stats,
                        to_char(j.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                            AS created_at,
                        to_char(j.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                            AS updated_at,
                        to_char(j.scheduled_for AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                            AS scheduled_for,
                        CASE
                            WHEN j.status = 'failed' AND j.retry_count >= j.max_retries
                                THEN '["cancelled"]'::json
                            WHEN j.status = 'pending' THEN '["running", "cancelled"]'::json
                            WHEN j.status = 'running'
                                THEN '["completed", "failed", "cancelled"]'::json
                            WHEN j.status = 'completed' THEN '[]'::json
                            WHEN j.status = 'failed' THEN '["pending", "cancelled"]'::json
                            WHEN j.status = 'cancelled' THEN '[]'::json
                        END AS allowed_transitions,
                        to_char(
                            j.lease_expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                        ) AS lease_expires_at,
                        j.worker_id
                ) AS r
            )::json
        ) AS f
    )
FROM unnest(%(ids)s::uuid[], %(known)s::bigint[]) AS k (id, version)
JOIN scrape_jobs j ON j.id = k.id
JOIN job_events e ON e.job_id = j.id AND e.seq = j.version
CROSS JOIN LATERAL (
    SELECT f.old_status
    FROM job_events f
    WHERE f.job_id = j.id
        AND f.seq > greatest(k.version, j.version - 100)
        AND f.seq <= j.version
        AND f.at >= %(since)s::timestamptz
    ORDER BY f.seq
    LIMIT 1
) AS first
WHERE j.version > k.version
    AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
ORDER BY j.updated_at, j.id
