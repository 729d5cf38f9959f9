-- The job runs from now on, leased to the worker, and is returned as its JSON text; its event is
-- appended. Null, and nothing is changed: the job is not due and pending, or has another limit of
-- its own, or another transaction has locked it. It never waits.
--
-- p_max_concurrent       the job's own limit, null for none, which the caller has checked
-- p_token                the lease token
-- p_allowed_transitions  the statuses that may follow, as JSON
-- p_provenance           the provenance of the event: an object with a text or null for each column

CREATE FUNCTION lease_job_1(
    p_id uuid,
    p_max_concurrent int,
    p_token text,
    p_worker_id text,
    p_lease_seconds int,
    p_allowed_transitions json,
    p_provenance jsonb
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    old scrape_jobs;
    event job_events;
    old_started_at text;
    new_started_at text;
    result text;
BEGIN
    SELECT j.* INTO old FROM scrape_jobs j
    WHERE j.id = p_id AND j.status = 'pending' AND greatest(j.scheduled_for, j.created_at) <= now()
        AND j.max_concurrent IS NOT DISTINCT FROM p_max_concurrent
    FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    event.job_id := p_id;
    event.seq := old.version + 1;
    event.at := greatest(now(), old.updated_at);
    event.old_status := 'pending';
    event.new_status := 'running';
    event.stats := old.stats;
    event.previous_seq := old.status_seq;
    event.retry_count := old.retry_count;
    event.action := p_provenance ->> 'action';
    event.actor_type := p_provenance ->> 'actor_type';
    event.actor_id := p_provenance ->> 'actor_id';
    event.actor_name := p_provenance ->> 'actor_name';
    event.request_id := p_provenance ->> 'request_id';
    event.address := p_provenance ->> 'address';
    old_started_at := to_char(old.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
    new_started_at := to_char(event.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
    event.changes := CASE WHEN old_started_at IS DISTINCT FROM new_started_at
            THEN jsonb_build_object('started_at',
                jsonb_build_object('from', old_started_at, 'to', new_started_at))
            ELSE '{}' END
        || CASE WHEN old.scheduled_for IS NOT NULL
            THEN jsonb_build_object('scheduled_for', jsonb_build_object('from',
                to_char(old.scheduled_for AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                'to', NULL))
            ELSE '{}' END
        || CASE WHEN old.worker_id IS DISTINCT FROM p_worker_id
            THEN jsonb_build_object('worker_id',
                jsonb_build_object('from', old.worker_id, 'to', p_worker_id))
            ELSE '{}' END;
    event.hash := sha256(old.chain || convert_to(jsonb_build_array(
        event.job_id, event.seq, encode(timestamptz_send(event.at), 'hex'), event.old_status,
        event.new_status, event.changes, event.stats::text, event.previous_seq, event.retry_count,
        encode(float8send(event.seconds), 'hex'), event.error_message, event.action,
        event.actor_type, event.actor_id, event.actor_name, event.request_id, event.address
    )::text, 'UTF8'));
    INSERT INTO job_events (
        job_id, seq, at, old_status, new_status, changes, stats, previous_seq, retry_count, seconds,
        error_message, action, actor_type, actor_id, actor_name, request_id, address, hash)
    VALUES (
        event.job_id, event.seq, event.at, event.old_status, event.new_status, event.changes,
        event.stats, event.previous_seq, event.retry_count, event.seconds, event.error_message,
        event.action, event.actor_type, event.actor_id, event.actor_name, event.request_id,
        event.address, event.hash);

    UPDATE scrape_jobs j SET
        status = 'running', started_at = event.at, scheduled_for = NULL, worker_id = p_worker_id,
        lease_token = p_token, lease_seconds = p_lease_seconds,
        lease_expires_at = event.at + make_interval(secs => p_lease_seconds),
        cancel_heard_at = NULL, updated_at = event.at, version = event.seq,
        status_seq = event.seq, chain = event.hash
    WHERE j.id = p_id
    RETURNING (SELECT row_to_json(r)::text FROM (SELECT
        j.id, j.domain_id, j.customer_config_id, j.domain, j.job_type, j.status, j.priority,
        j.retry_count, j.max_retries, j.config, j.metadata,
        to_char(j.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS started_at,
        to_char(j.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS completed_at,
        j.error_message, j.stats,
        to_char(j.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
        to_char(j.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at,
        to_char(j.scheduled_for AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
            AS scheduled_for,
        p_allowed_transitions AS allowed_transitions,
        to_char(j.lease_expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
            AS lease_expires_at,
        j.worker_id) AS r)
    INTO result;
    INSERT INTO outbox (job_id, seq, created_at, customer)
    VALUES (p_id, event.seq, event.at,
        coalesce(old.customer_config_id, '00000000-0000-0000-0000-000000000000'));
    INSERT INTO uncounted_events (job_id, seq) VALUES (p_id, event.seq);
    RETURN result;
END
$$;
