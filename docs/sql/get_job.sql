-- get_job
--
-- The job as it is now, or no row if it does not exist. One lookup by the primary key. The JSON is
-- empty if the caller knows this state of the job by its tag: writing it takes a quarter of the
-- time.
--
-- Parameters: known_tags, id, tenant

SELECT
    concat_ws('-', j.version, floor(extract(epoch FROM j.lease_expires_at) * 1000)::bigint),
    CASE
        WHEN concat_ws('-', j.version, floor(extract(epoch FROM j.lease_expires_at) * 1000)::bigint)
            = ANY(%(known_tags)s::text[])
            THEN ''
        ELSE (
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
                    j.config,
                    j.metadata,
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
                        WHEN j.status = 'running' THEN '["completed", "failed", "cancelled"]'::json
                        WHEN j.status = 'completed' THEN '[]'::json
                        WHEN j.status = 'failed' THEN '["pending", "cancelled"]'::json
                        WHEN j.status = 'cancelled' THEN '[]'::json
                    END AS allowed_transitions,
                    to_char(j.lease_expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                        AS lease_expires_at,
                    j.worker_id
            ) AS r
        )
    END
FROM scrape_jobs j
WHERE j.id = %(id)s::uuid AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
