-- The JSON text of a job with all its fields, as every response shows it.
--
-- p_following    the statuses that may follow each status, as arrays; where they differ for a job
--                without retries left, these are under "… without retries", too

CREATE FUNCTION job_json_1(p_job scrape_jobs, p_following jsonb) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    format CONSTANT text := 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';
BEGIN
    RETURN (
        SELECT row_to_json(shown)::text FROM (
            SELECT
                p_job.id,
                p_job.domain_id,
                p_job.customer_config_id,
                p_job.domain,
                p_job.job_type,
                p_job.status,
                p_job.priority,
                p_job.retry_count,
                p_job.max_retries,
                p_job.config,
                p_job.metadata,
                to_char(p_job.started_at AT TIME ZONE 'UTC', format) AS started_at,
                to_char(p_job.completed_at AT TIME ZONE 'UTC', format) AS completed_at,
                p_job.error_message,
                p_job.stats,
                to_char(p_job.created_at AT TIME ZONE 'UTC', format) AS created_at,
                to_char(p_job.updated_at AT TIME ZONE 'UTC', format) AS updated_at,
                to_char(p_job.scheduled_for AT TIME ZONE 'UTC', format) AS scheduled_for,
                coalesce(
                    CASE
                        WHEN p_job.retry_count >= p_job.max_retries
                            THEN p_following -> (p_job.status || ' without retries')
                    END,
                    p_following -> p_job.status
                ) AS allowed_transitions,
                to_char(p_job.lease_expires_at AT TIME ZONE 'UTC', format) AS lease_expires_at,
                p_job.worker_id
        ) AS shown
    );
END
$$;
