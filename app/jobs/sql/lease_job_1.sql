-- The job runs from now on, leased to the worker, and is returned as its JSON text; its event is
-- appended. Null, and nothing is changed: the job is not due and pending, or has another limit of
-- its own, or another transaction has locked it. It never waits.
--
-- p_max_concurrent  the job's own limit, null for none, which the caller has checked
-- p_token           the lease token
-- p_following       the statuses that may follow each status, see job_json_1
-- p_provenance      action, actor_type, actor_id, actor_name, request_id and address

CREATE FUNCTION lease_job_1(
    p_id uuid,
    p_max_concurrent int,
    p_token text,
    p_worker_id text,
    p_lease_seconds int,
    p_following jsonb,
    p_provenance jsonb
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    old scrape_jobs;
    leased scrape_jobs;
    t timestamptz;
    seq bigint;
    hash bytea;
    result text;
BEGIN
    SELECT j.* INTO old FROM scrape_jobs j
    WHERE j.id = p_id AND j.status = 'pending' AND greatest(j.scheduled_for, j.created_at) <= now()
        AND j.max_concurrent IS NOT DISTINCT FROM p_max_concurrent
    FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    t := greatest(now(), old.updated_at);
    seq := old.version + 1;
    leased := old;
    leased.started_at := t;
    leased.scheduled_for := NULL;
    leased.worker_id := p_worker_id;
    hash := append_event_1(
        p_id, seq, t, 'pending', 'running', changed_fields_1(old, leased), old.stats,
        old.status_seq, old.retry_count, NULL, NULL, old.chain, p_provenance
    );
    UPDATE scrape_jobs j SET
        status = 'running', started_at = t, scheduled_for = NULL, worker_id = p_worker_id,
        lease_token = p_token, lease_seconds = p_lease_seconds,
        lease_expires_at = t + make_interval(secs => p_lease_seconds), cancel_heard_at = NULL,
        updated_at = t, version = seq, status_seq = seq, chain = hash
    WHERE j.id = p_id
    RETURNING job_json_1(j, p_following) INTO result;
    INSERT INTO outbox (job_id, seq, created_at, customer)
    VALUES (
        p_id, seq, t, coalesce(old.customer_config_id, '00000000-0000-0000-0000-000000000000')
    );
    INSERT INTO uncounted_events (job_id, seq) VALUES (p_id, seq);
    RETURN result;
END
$$;
