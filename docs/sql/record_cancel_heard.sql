-- record_cancel_heard
--
-- Once for each cancellation, the event that the worker was informed of it, and the job as it is
-- then. No row: the event exists already, or the job was not cancelled under this token.
--
-- Parameters: id, lease_token, tenant, action, actor_type, actor_id, actor_name, request_id,
-- address

WITH cur AS MATERIALIZED (
    SELECT j.*, greatest(now(), j.updated_at) AS t
    FROM scrape_jobs j
    WHERE j.id = %(id)s::uuid
        AND j.lease_token = %(lease_token)s::text
        AND j.status = 'cancelled'
        AND j.cancel_heard_at IS NULL
        AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
    FOR NO KEY UPDATE
),
event_values AS MATERIALIZED (
    SELECT
        cur.id AS job_id,
        cur.version + 1 AS seq,
        cur.t AS at,
        cur.status AS old_status,
        cur.status AS new_status,
        '{}'::jsonb AS changes,
        NULL::jsonb AS stats,
        NULL::bigint AS previous_seq,
        NULL::int AS retry_count,
        NULL::float8 AS seconds,
        NULL::text AS error_message,
        %(action)s::text AS action,
        %(actor_type)s::text AS actor_type,
        %(actor_id)s::text AS actor_id,
        %(actor_name)s::text AS actor_name,
        %(request_id)s::text AS request_id,
        %(address)s::text AS address
    FROM cur
),
event AS MATERIALIZED (
    SELECT
        v.*,
        sha256(
            (SELECT cur.chain FROM cur) || convert_to(
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
    SET cancel_heard_at = cur.t, updated_at = cur.t, version = cur.version + 1, chain = event.hash
    FROM cur, event
    WHERE j.id = cur.id AND j.id = %(id)s::uuid
    RETURNING j.*
)
SELECT
    concat_ws('-', job.version, floor(extract(epoch FROM job.lease_expires_at) * 1000)::bigint),
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
