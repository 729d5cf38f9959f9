-- The hash of an event. It covers the hash of the job's event before it and all other columns, each
-- in a form that does not depend on settings of the session.
--
-- The arguments are those of append_event_1.

CREATE FUNCTION event_hash_1(
    p_job_id uuid,
    p_seq bigint,
    p_at timestamptz,
    p_old_status text,
    p_new_status text,
    p_changes jsonb,
    p_stats jsonb,
    p_previous_seq bigint,
    p_retry_count int,
    p_seconds float8,
    p_error_message text,
    p_previous_hash bytea,
    p_provenance jsonb
) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(
        p_previous_hash || convert_to(
            jsonb_build_array(
                p_job_id,
                p_seq,
                encode(timestamptz_send(p_at), 'hex'),
                p_old_status,
                p_new_status,
                p_changes,
                p_stats::text, -- distinguishes SQL NULL from the JSON value null
                p_previous_seq,
                p_retry_count,
                encode(float8send(p_seconds), 'hex'),
                p_error_message,
                p_provenance -> 'action',
                p_provenance -> 'actor_type',
                p_provenance -> 'actor_id',
                p_provenance -> 'actor_name',
                p_provenance -> 'request_id',
                p_provenance -> 'address'
            )::text,
            'UTF8'
        )
    )
$$;
