-- The job's row is locked, checked as it is then, and changed together with its event. If the
-- status changes, outbox and uncounted_events get a row each. Or nothing is changed, and the first
-- refusal is named. All results are null if the job does not exist. A value that the job already
-- has counts as not given.
--
-- The rules come as arguments; app/jobs/states.py has them.
--
-- p_tenant         the customer whose jobs are visible; null for all
-- p_request        the requested change, an object with any of these keys; a flag is set by its
--                  presence:
--     status, error_message, stats, metadata, retry_count, started_at, completed_at
--                  the new values of these fields
--     queue_fields the new values of fields that only a queueable job may change: priority,
--                  max_retries, config, max_concurrent (together with config), scheduled_for
--     fixed_fields the values that the job must have already
--     replaces_metadata     whether metadata replaces the job's instead of being merged into it
--     must_change_status    whether the change is refused if the job has the new status already
--     lease_expired         whether the job's lease must have expired
--     delay_seconds         how long after a retry the job is due; at once without it
--     is_uncounted          whether a retry takes none of the job's retries
--     resets_retries        whether retry_count starts from 0 again
-- p_entered_from   the statuses that the requested status may follow
-- p_versions       the accepted versions of the job; null accepts any
-- p_lease_token    the token of the lease under which the caller works; null for none
-- p_provenance     the provenance of the event, see append_event_1
-- p_rules          the statuses in which a job is "final", "ended" or "queueable"; the statuses
--                  "following" each, see job_json_1; "max_document_bytes"

CREATE FUNCTION change_job_1(
    p_id uuid,
    p_tenant uuid,
    p_request jsonb,
    p_entered_from text[],
    p_versions bigint[],
    p_lease_token text,
    p_provenance jsonb,
    p_rules jsonb,
    OUT old_status text,
    OUT old_retry_count int,
    OUT new_max_retries int,
    OUT refusal text,
    OUT tag text,
    OUT job text
) LANGUAGE plpgsql AS $$
DECLARE
    old_job scrape_jobs;
    new_job scrape_jobs;
    t timestamptz;
    changes_status boolean;
    is_retry boolean;
    other_fields text[]; -- the fixed fields of which the job has other values
    queue_fields text[]; -- the queue fields that get other values
    max_bytes int := p_rules ->> 'max_document_bytes';
    changes jsonb;
    seconds float8;
BEGIN
    SELECT j.* INTO old_job FROM scrape_jobs j
    WHERE j.id = p_id AND (p_tenant IS NULL OR j.customer_config_id = p_tenant)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    -- now() is a time before the wait for the lock. The time of the locked row counts, too, so that
    -- the time of a change never goes back behind the one before.
    t := greatest(now(), old_job.updated_at);
    new_job := old_job;
    new_job.status := coalesce(p_request ->> 'status', old_job.status);
    changes_status := new_job.status <> old_job.status;
    is_retry := changes_status AND new_job.status = 'pending';

    IF p_request ?| '{fixed_fields,queue_fields}' THEN
        other_fields := differing_fields_1(old_job, p_request -> 'fixed_fields');
        queue_fields := differing_fields_1(old_job, p_request -> 'queue_fields');
        IF 'max_retries' = ANY(queue_fields) THEN
            new_job.max_retries := p_request #>> '{queue_fields,max_retries}';
        END IF;
    END IF;

    old_status := old_job.status;
    old_retry_count := old_job.retry_count;
    new_max_retries := new_job.max_retries;

    refusal := CASE
        WHEN old_job.lease_token IS DISTINCT FROM coalesce(p_lease_token, old_job.lease_token)
            THEN 'lease'
        WHEN p_request ? 'lease_expired' AND (old_job.lease_expires_at < t) IS NOT TRUE
            THEN 'lease'
        -- The token of a lease that is over is valid for a retry, and to repeat the report of the
        -- job's end.
        WHEN p_lease_token IS NOT NULL AND old_job.lease_seconds IS NULL
            AND NOT p_request ? 'must_change_status'
            AND (old_job.status = 'cancelled'
                OR p_request ->> 'status' IS DISTINCT FROM old_job.status
                OR queue_fields IS NOT NULL)
            THEN 'lease'
        WHEN NOT old_job.version = ANY(p_versions) THEN 'version'
        WHEN NOT changes_status AND p_request ? 'must_change_status' THEN 'transition'
        WHEN changes_status AND NOT old_job.status = ANY(p_entered_from) THEN 'transition'
        WHEN is_retry AND NOT p_request ? 'is_uncounted'
            AND new_job.max_retries
                <= CASE WHEN p_request ? 'resets_retries' THEN 0 ELSE old_job.retry_count END
            THEN 'retries'
        WHEN other_fields IS NOT NULL
            THEN 'fixed_fields ' || array_to_string(other_fields, ' ')
        WHEN queue_fields IS NOT NULL AND NOT p_rules -> 'queueable' ? old_job.status
            THEN 'queue_fields ' || array_to_string(queue_fields, ' ')
    END;
    IF refusal IS NOT NULL THEN
        RETURN;
    END IF;

    -- The new values that follow from the change of the status.
    IF changes_status THEN
        new_job.scheduled_for := NULL;
        new_job.lease_expires_at := NULL;
        IF new_job.status = 'running' THEN
            new_job.started_at := t;
        END IF;
        IF p_rules -> 'ended' ? new_job.status THEN
            new_job.completed_at := t;
        END IF;
        -- The length of a lease outlives a cancellation, so that the worker can send one last
        -- report.
        IF new_job.status <> 'cancelled' THEN
            new_job.lease_seconds := NULL;
        END IF;
    END IF;
    IF is_retry THEN
        new_job.error_message := NULL;
        new_job.stats := '{}';
        new_job.started_at := NULL;
        new_job.completed_at := NULL;
        new_job.worker_id := NULL;
        new_job.lease_token := NULL;
        new_job.scheduled_for := t + make_interval(secs => (p_request ->> 'delay_seconds')::float8);
        new_job.retry_count := CASE
            WHEN p_request ? 'resets_retries' THEN 0
            WHEN p_request ? 'is_uncounted' THEN old_job.retry_count
            ELSE old_job.retry_count + 1
        END;
    END IF;

    -- The new values that the request gives. A retry clears or counts each field that the request
    -- does not give, and a value that the job already has counts as not given. Only the retry
    -- endpoint sets must_change_status together with an error message, which the job then keeps.
    IF p_request ? 'stats' AND NOT (is_retry AND p_request -> 'stats' = old_job.stats) THEN
        new_job.stats := p_request -> 'stats';
    END IF;
    IF p_request ? 'metadata' THEN
        new_job.metadata := CASE
            WHEN p_request ? 'replaces_metadata' THEN p_request -> 'metadata'
            ELSE old_job.metadata || (p_request -> 'metadata')
        END;
    END IF;
    IF p_request ?| '{error_message,retry_count,started_at,completed_at}' THEN
        IF p_request ? 'error_message' AND NOT (
            is_retry AND NOT p_request ? 'must_change_status'
            AND p_request ->> 'error_message' IS NOT DISTINCT FROM old_job.error_message
        ) THEN
            new_job.error_message := p_request ->> 'error_message';
        END IF;
        IF p_request ? 'retry_count'
            AND NOT (is_retry AND (p_request ->> 'retry_count')::int = old_job.retry_count) THEN
            new_job.retry_count := p_request ->> 'retry_count';
        END IF;
        IF p_request ? 'started_at' AND NOT is_shown_time_1(
            (p_request ->> 'started_at')::timestamptz, old_job.started_at
        ) THEN
            new_job.started_at := p_request ->> 'started_at';
        END IF;
        -- A worker may repeat its last report if the response got lost, with the completed_at that
        -- it read before the first report: null.
        IF p_request ? 'completed_at' AND NOT is_shown_time_1(
            (p_request ->> 'completed_at')::timestamptz, old_job.completed_at
        ) AND NOT coalesce(
            NOT changes_status AND p_request ->> 'completed_at' IS NULL
                AND p_rules -> 'final' ? (p_request ->> 'status'),
            false
        ) THEN
            new_job.completed_at := p_request ->> 'completed_at';
        END IF;
    END IF;
    IF queue_fields IS NOT NULL THEN
        IF 'priority' = ANY(queue_fields) THEN
            new_job.priority := p_request #>> '{queue_fields,priority}';
        END IF;
        IF 'config' = ANY(queue_fields) THEN
            new_job.config := p_request #> '{queue_fields,config}';
            IF p_request -> 'queue_fields' ? 'max_concurrent' THEN
                new_job.max_concurrent := p_request #>> '{queue_fields,max_concurrent}';
            END IF;
        END IF;
        IF 'scheduled_for' = ANY(queue_fields) THEN
            new_job.scheduled_for := p_request #>> '{queue_fields,scheduled_for}';
        END IF;
    END IF;

    IF p_lease_token IS NOT NULL THEN
        IF old_job.status = 'cancelled' THEN
            new_job.lease_seconds := NULL; -- this was the worker's last report
        ELSIF old_job.status = 'running' AND NOT changes_status THEN
            -- A change under the lease's token extends the lease, as a heartbeat does.
            new_job.lease_expires_at := t + make_interval(secs => old_job.lease_seconds);
        END IF;
    END IF;
    IF p_request ? 'lease_expired' THEN
        new_job.lease_token := NULL;
    END IF;

    refusal := CASE
        WHEN new_job.completed_at IS NULL AND p_rules -> 'final' ? new_job.status
            THEN 'completed_at'
        WHEN new_job.scheduled_for IS NOT NULL AND new_job.status <> 'pending'
            THEN 'scheduled_for'
        WHEN p_request ? 'stats' AND octet_length(new_job.stats::text) > max_bytes
            THEN 'stats'
        WHEN p_request ? 'metadata' AND octet_length(new_job.metadata::text) > max_bytes
            THEN 'metadata'
        WHEN 'config' = ANY(queue_fields) AND octet_length(new_job.config::text) > max_bytes
            THEN 'config'
    END;
    IF refusal IS NOT NULL THEN
        RETURN;
    END IF;

    -- The changes of the documents by their top-level keys, then those of the other fields.
    changes := (
        SELECT coalesce(
            jsonb_object_agg(
                name || '.' || key,
                jsonb_build_object(
                    'from', CASE
                        WHEN keeps_whole THEN old_value -> key
                        ELSE event_value_1(old_value -> key)
                    END,
                    'to', event_value_1(new_value -> key)
                )
            ),
            '{}'
        )
        FROM (
            -- A retry clears the job: only its event still has the old values, so it keeps them
            -- whole. The concatenation decompresses a document once; without it each key would.
            VALUES
                ('stats', old_job.stats || '{}', new_job.stats || '{}', is_retry),
                ('metadata', old_job.metadata || '{}', new_job.metadata || '{}', is_retry),
                ('config', old_job.config || '{}', new_job.config || '{}', false)
        ) AS document (name, old_value, new_value, keeps_whole),
            jsonb_object_keys(old_value || new_value) AS key
        WHERE old_value <> new_value AND old_value -> key IS DISTINCT FROM new_value -> key
    );
    IF changes_status OR p_request ?|
        '{error_message,retry_count,started_at,completed_at,queue_fields}' THEN
        changes := changes || changed_fields_1(old_job, new_job);
    END IF;

    new_job.version := old_job.version + 1;
    new_job.updated_at := t;
    IF changes_status THEN
        new_job.status_seq := new_job.version;
        -- How long the attempt took that ends with this event. A completed_at before started_at,
        -- which a client may set, counts as 0.
        IF old_job.status = 'running' THEN
            seconds := CASE
                WHEN new_job.completed_at < new_job.started_at THEN 0
                ELSE extract(epoch FROM new_job.completed_at - new_job.started_at)
            END;
        END IF;
        new_job.chain := append_event_1(
            p_id, new_job.version, t, old_job.status, new_job.status, changes, new_job.stats,
            old_job.status_seq, new_job.retry_count, seconds,
            CASE WHEN new_job.status = 'failed' THEN new_job.error_message END,
            old_job.chain, p_provenance
        );
    ELSE
        new_job.chain := append_event_1(
            p_id, new_job.version, t, old_job.status, new_job.status, changes, NULL, NULL, NULL,
            NULL, NULL, old_job.chain, p_provenance
        );
    END IF;

    UPDATE scrape_jobs j SET
        status = new_job.status,
        error_message = new_job.error_message,
        stats = new_job.stats,
        retry_count = new_job.retry_count,
        started_at = new_job.started_at,
        completed_at = new_job.completed_at,
        priority = new_job.priority,
        max_retries = new_job.max_retries,
        config = new_job.config,
        max_concurrent = new_job.max_concurrent,
        scheduled_for = new_job.scheduled_for,
        metadata = new_job.metadata,
        worker_id = new_job.worker_id,
        lease_token = new_job.lease_token,
        lease_seconds = new_job.lease_seconds,
        lease_expires_at = new_job.lease_expires_at,
        updated_at = new_job.updated_at,
        version = new_job.version,
        status_seq = new_job.status_seq,
        chain = new_job.chain
    WHERE j.id = p_id
    RETURNING job_tag_1(j), job_json_1(j, p_rules -> 'following') INTO tag, job;

    IF changes_status THEN
        INSERT INTO outbox (job_id, seq, created_at, customer)
        VALUES (
            p_id, new_job.version, t,
            coalesce(new_job.customer_config_id, '00000000-0000-0000-0000-000000000000')
        );
        INSERT INTO uncounted_events (job_id, seq) VALUES (p_id, new_job.version);
    END IF;
END
$$;
