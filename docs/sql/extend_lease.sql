-- extend_lease
--
-- The lease has its full length again from now on. Nothing else is changed, and no index is
-- written. No row: the job is not running under this token.
--
-- Parameters: id, lease_token, tenant

WITH cur AS MATERIALIZED (
    SELECT j.id, now() + make_interval(secs => j.lease_seconds) AS until
    FROM scrape_jobs j
    WHERE j.id = %(id)s::uuid
        AND j.lease_token = %(lease_token)s::text
        AND j.status = 'running'
        AND j.lease_seconds IS NOT NULL
        AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
    FOR NO KEY UPDATE
),
job AS (
    UPDATE scrape_jobs j
    SET lease_expires_at = greatest(j.lease_expires_at, cur.until)
    FROM cur
    WHERE j.id = cur.id AND j.id = %(id)s::uuid
    RETURNING j.*
)
SELECT
    concat_ws('-', job.version, floor(extract(epoch FROM job.lease_expires_at) * 1000)::bigint),
    (
        SELECT row_to_json(r)::text
        FROM (
            SELECT
                job.id,
                job.domain_id,
                job.customer_config_id,
                job.domain,
                job.job_type,
                job.status,
                job.priority,
                job.retry_count,
                job.max_retries,
                job.config,
                job.metadata,
                to_char(job.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                    AS started_at,
                to_char(job.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                    AS completed_at,
                job.error_message,
                job.stats,
                to_char(job.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                    AS created_at,
                to_char(job.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                    AS updated_at,
                to_char(job.scheduled_for AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                    AS scheduled_for,
                CASE
                    WHEN job.status = 'failed' AND job.retry_count >= job.max_retries
                        THEN '["cancelled"]'::json
                    WHEN job.status = 'pending' THEN '["running", "cancelled"]'::json
                    WHEN job.status = 'running' THEN '["completed", "failed", "cancelled"]'::json
                    WHEN job.status = 'completed' THEN '[]'::json
                    WHEN job.status = 'failed' THEN '["pending", "cancelled"]'::json
                    WHEN job.status = 'cancelled' THEN '[]'::json
                END AS allowed_transitions,
                to_char(job.lease_expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                    AS lease_expires_at,
                job.worker_id
        ) AS r
    )
FROM job
