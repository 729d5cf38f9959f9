-- take_job
--
-- The job runs from now on, leased to this worker; or no row: it is no longer due and pending, or
-- another transaction has locked it.
--
-- Parameters: token, id, worker_id, action, actor_type, actor_id, actor_name, request_id, address,
-- lease_seconds

WITH picked AS MATERIALIZED (
    SELECT j.*, greatest(now(), j.updated_at) AS t, %(token)s::text AS token
    FROM scrape_jobs j
    WHERE j.id = %(id)s::uuid
        AND j.status = 'pending'
        AND greatest(j.scheduled_for, j.created_at) <= now()
    FOR NO KEY UPDATE SKIP LOCKED
),
event_values AS MATERIALIZED (
    SELECT
        picked.id AS job_id,
        picked.version + 1 AS seq,
        picked.t AS at,
        'pending'::text AS old_status,
        'running'::text AS new_status,
        (
            SELECT coalesce(
                jsonb_object_agg(d.name, jsonb_build_object('from', d.old, 'to', d.new)), '{}'
            )
            FROM (
                VALUES
                    (
                        'started_at',
                        to_jsonb(
                            to_char(
                                picked.started_at AT TIME ZONE 'UTC',
                                'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                            )
                        ),
                        to_jsonb(
                            to_char(picked.t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                        )
                    ),
                    (
                        'scheduled_for',
                        to_jsonb(
                            to_char(
                                picked.scheduled_for AT TIME ZONE 'UTC',
                                'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                            )
                        ),
                        to_jsonb(NULL::text)
                    ),
                    ('worker_id', to_jsonb(picked.worker_id), to_jsonb(%(worker_id)s::text))
            ) AS d (name, old, new)
            WHERE d.old IS DISTINCT FROM d.new
        ) AS changes,
        picked.stats AS stats,
        picked.status_seq AS previous_seq,
        picked.retry_count AS retry_count,
        NULL::float8 AS seconds,
        NULL::text AS error_message,
        %(action)s::text AS action,
        %(actor_type)s::text AS actor_type,
        %(actor_id)s::text AS actor_id,
        %(actor_name)s::text AS actor_name,
        %(request_id)s::text AS request_id,
        %(address)s::text AS address
    FROM picked
),
event AS MATERIALIZED (
    SELECT
        v.*,
        sha256(
            (SELECT picked.chain FROM picked WHERE picked.id = v.job_id) || convert_to(
                jsonb_build_array(
                    v.job_id,
                    v.seq,
                    encode(timestamptz_send(v.at), 'hex'),
                    v.old_status,
                    v.new_status,
                    v.changes,
                    v.stats::text,
                    v.previous_seq,
                    v.retry_count,
                    encode(float8send(v.seconds), 'hex'),
                    v.error_message,
                    v.action,
                    v.actor_type,
                    v.actor_id,
                    v.actor_name,
                    v.request_id,
                    v.address
                )::text,
                'UTF8'
            )
        ) AS hash
    FROM event_values v
),
appended AS (
    INSERT INTO job_events (
        job_id, seq, at, old_status, new_status, changes, stats, previous_seq, retry_count, seconds,
        error_message, action, actor_type, actor_id, actor_name, request_id, address, hash
    )
    SELECT
        job_id,
        seq,
        at,
        old_status,
        new_status,
        changes,
        stats,
        previous_seq,
        retry_count,
        seconds,
        error_message,
        action,
        actor_type,
        actor_id,
        actor_name,
        request_id,
        address,
        hash
    FROM event
),
job AS (
    UPDATE scrape_jobs j
    SET
        status = 'running',
        started_at = picked.t,
        scheduled_for = NULL,
        worker_id = %(worker_id)s::text,
        lease_token = picked.token,
        lease_seconds = %(lease_seconds)s::int,
        lease_expires_at = picked.t + make_interval(secs => %(lease_seconds)s::int),
        cancel_heard_at = NULL,
        updated_at = picked.t,
        version = picked.version + 1,
        status_seq = picked.version + 1,
        chain = event.hash
    FROM picked
    JOIN event ON event.job_id = picked.id
    WHERE j.id = picked.id AND j.id = %(id)s::uuid
    RETURNING j.*
),
for_webhooks AS (
    INSERT INTO outbox (job_id, seq, created_at, customer)
    SELECT
        job.id,
        job.version,
        job.updated_at,
        coalesce(job.customer_config_id, '00000000-0000-0000-0000-000000000000')
    FROM job
),
for_statistics AS (INSERT INTO uncounted_events (job_id, seq) SELECT job.id, job.version FROM job)
SELECT
    job.id,
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
