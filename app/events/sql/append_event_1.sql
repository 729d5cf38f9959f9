-- The event is inserted, and its hash is returned. The caller stores the hash in the job's column
-- chain.
--
-- The arguments from p_stats to
-- p_error_message are null if the status does not change.
--
-- p_previous_hash   the hash of the job's event before this one; empty for the first event
-- p_provenance      action, actor_type, actor_id, actor_name, request_id and address

CREATE FUNCTION append_event_1(
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
) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    hash CONSTANT bytea := event_hash_1(
        p_job_id, p_seq, p_at, p_old_status, p_new_status, p_changes, p_stats, p_previous_seq,
        p_retry_count, p_seconds, p_error_message, p_previous_hash, p_provenance
    );
BEGIN
    INSERT INTO job_events (
        job_id, seq, at, old_status, new_status, changes, stats, previous_seq, retry_count,
        seconds, error_message, action, actor_type, actor_id, actor_name, request_id, address, hash
    ) VALUES (
        p_job_id, p_seq, p_at, p_old_status, p_new_status, p_changes, p_stats, p_previous_seq,
        p_retry_count, p_seconds, p_error_message, p_provenance ->> 'action',
        p_provenance ->> 'actor_type', p_provenance ->> 'actor_id', p_provenance ->> 'actor_name',
        p_provenance ->> 'request_id', p_provenance ->> 'address', hash
    );
    RETURN hash;
END
$$;
