-- The names of the fields that the job shows with another value than the request gives. Null if
-- there are none.
--
-- A client may send back a job that it read a while ago. The service itself changes updated_at,
-- allowed_transitions and lease_expires_at in the meantime. So every value of these counts as equal
-- that the job may have shown since it was created. max_concurrent is a part of config, which is
-- compared as a whole.
--
-- p_given    the values of the request as JSON, in the form in which a job shows them; false stands
--            for a value that no job can have

CREATE FUNCTION differing_fields_1(p_job scrape_jobs, p_given jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    format CONSTANT text := 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';
    created_at text := to_char(p_job.created_at AT TIME ZONE 'UTC', format);
    updated_at text := to_char(p_job.updated_at AT TIME ZONE 'UTC', format);
    lease_end text := coalesce(to_char(p_job.lease_expires_at AT TIME ZONE 'UTC', format), '9999');
BEGIN
    RETURN (
        SELECT array_agg(given.key)
        FROM jsonb_each(p_given) AS given, LATERAL (
            SELECT (given.value #>> '{}') COLLATE "C" AS text
        ) AS as_text
        WHERE given.value <> coalesce(
            CASE given.key
                WHEN 'id' THEN to_jsonb(p_job.id)
                WHEN 'domain_id' THEN to_jsonb(p_job.domain_id)
                WHEN 'customer_config_id' THEN to_jsonb(p_job.customer_config_id)
                WHEN 'domain' THEN to_jsonb(p_job.domain)
                WHEN 'job_type' THEN to_jsonb(p_job.job_type)
                WHEN 'priority' THEN to_jsonb(p_job.priority)
                WHEN 'max_retries' THEN to_jsonb(p_job.max_retries)
                WHEN 'config' THEN p_job.config
                WHEN 'max_concurrent' THEN given.value
                WHEN 'created_at' THEN to_jsonb(created_at)
                WHEN 'updated_at' THEN
                    CASE WHEN as_text.text BETWEEN created_at AND updated_at THEN given.value END
                WHEN 'scheduled_for' THEN
                    to_jsonb(to_char(p_job.scheduled_for AT TIME ZONE 'UTC', format))
                WHEN 'allowed_transitions' THEN
                    CASE jsonb_typeof(given.value) WHEN 'array' THEN given.value END
                WHEN 'lease_expires_at' THEN
                    CASE
                        WHEN p_job.lease_token IS NOT NULL
                            AND as_text.text BETWEEN created_at AND lease_end
                            THEN given.value
                    END
                WHEN 'worker_id' THEN to_jsonb(p_job.worker_id)
            END,
            'null'
        )
    );
END
$$;
