-- take_job
--
-- Parameters: token, id, action, actor_type, actor_id, actor_name, request_id, address, worker_id,
-- lease_seconds

WITH picked AS MATERIALIZED (
    SELECT j.*, greatest(now(), j.updated_at) AS t, %(token)s::text AS token
    FROM scrape_jobs j
    WHERE j.id = %(id)s::uuid
        AND j.status = 'pending'
        AND greatest(j.scheduled_for, j.created_at) <= now()
    FOR NO KEY UPDATE SKIP LOCKED
),
fact AS MATERIALIZED (
    SELECT
        e.*,
        %(action)s::text AS action,
        %(actor_type)s::text AS actor_type,
        %(actor_id)s::text AS actor_id,
        %(actor_name)s::text AS actor_name,
        %(request_id)s::text AS request_id,
        %(address)s::text AS address
    FROM (
        SELECT
            picked.id,
            picked.version + 1,
            picked.t,
            'pending'::text,
            'running'::text,
            (
                SELECT coalesce(
                    jsonb_object_agg(d.name, jsonb_build_object('from', d.old, 'to', d.new)), '{}'
                )
                FROM (
                    SELECT f.name, f.old, f.new
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
                                    to_char(
                                        picked.t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                                    )
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
                    ) AS f (name, old, new)
                ) AS d (name, old, new)
                WHERE d.old IS DISTINCT FROM d.new
            ),
            picked.stats,
            picked.status_seq,
            picked.retry_count,
            NULL::float8,
            NULL::text
        FROM picked
    ) AS e (
        job_id, seq, at, old_status, new_status, changes, stats, previous_seq, retry_count, seconds,
        error_message
    )
),
event AS MATERIALIZED (
    SELECT
        f.*,
        sha256(
            (SELECT picked.chain FROM picked WHERE picked.id = f.job_id) || convert_to(
                jsonb_build_array(
                    f.job_id,
                    f.seq,
                    encode(timestamptz_send(f.at), 'hex'),
                    f.old_status,
                    f.new_status,
                    f.changes,
                    f.stats::text,
                    f.previous_seq,
                    f.retry_count,
                    encode(float8send(f.seconds), 'hex'),
                    f.error_message,
                    f.action,
                    f.actor_type,
                    f.actor_id,
                    f.actor_name,
                    f.request_id,
                    f.address
                )::text,
                'UTF8'
            )
        ) AS hash
    FROM fact f
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
owed AS (
    INSERT INTO outbox (job_id, seq, created_at, customer)
    SELECT c.job_id, c.seq, c.at, coalesce(c.customer, '00000000-0000-0000-0000-000000000000')
    FROM (SELECT job.id, job.version, job.updated_at, job.customer_config_id FROM job) AS c (
        job_id, seq, at, customer
    )
),
uncounted AS (INSERT INTO uncounted_events (job_id, seq) SELECT job.id, job.version FROM job)
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
