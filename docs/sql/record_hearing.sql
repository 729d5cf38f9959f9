-- record_hearing
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
            cur.id,
            cur.version + 1,
            cur.t,
            cur.status,
            cur.status,
            '{}'::jsonb,
            NULL::jsonb,
            NULL::bigint,
            NULL::int,
            NULL::float8,
            NULL::text
        FROM cur
    ) AS e (
        job_id, seq, at, old_status, new_status, changes, stats, previous_seq, retry_count, seconds,
        error_message
    )
),
event AS MATERIALIZED (
    SELECT
        f.*,
        sha256(
            (SELECT cur.chain FROM cur) || convert_to(
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
    SET cancel_heard_at = cur.t, updated_at = cur.t, version = cur.version + 1, chain = event.hash
    FROM cur, event
    WHERE j.id = cur.id AND j.id = %(id)s::uuid
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
