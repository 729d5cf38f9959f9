-- create_jobs
--
-- All jobs and their first events are stored, and one row per job is returned, in any order. If a
-- document is too large, nothing is stored, and the only row names that job and document.
--
-- Parameters: jobs, action, actor_type, actor_id, actor_name, request_id, address

WITH n AS MATERIALIZED (
    -- created_at has the precision that responses show: a list with created_before set to the
    -- created_at of a job that was read leaves that job out.
    SELECT r.*, date_trunc('milliseconds', now()) AS moment
    FROM jsonb_to_recordset(%(jobs)s::jsonb) AS r (
        id uuid, domain_id uuid, customer_config_id uuid, domain text, job_type text, priority int,
        max_retries int, max_concurrent int, config jsonb, metadata jsonb, scheduled_for timestamptz
    )
),
large AS MATERIALIZED (
    SELECT n.id, d.name
    FROM n, LATERAL (VALUES ('config', n.config), ('metadata', n.metadata)) AS d (name, document)
    WHERE octet_length(d.document::text) > 262144
    LIMIT 1
),
event_values AS MATERIALIZED (
    SELECT
        n.id AS job_id,
        1::bigint AS seq,
        n.moment AS at,
        NULL::text AS old_status,
        'pending'::text AS new_status,
        (
            SELECT coalesce(
                jsonb_object_agg(d.name, jsonb_build_object('from', d.old, 'to', d.new)), '{}'
            )
            FROM (
                SELECT f.name, f.old, f.new
                FROM (
                    VALUES
                        ('domain_id', to_jsonb(NULL::uuid), to_jsonb(n.domain_id)),
                        ('domain', to_jsonb(NULL::text), to_jsonb(n.domain)),
                        ('job_type', to_jsonb(NULL::text), to_jsonb(n.job_type)),
                        ('priority', to_jsonb(NULL::int), to_jsonb(n.priority)),
                        ('max_retries', to_jsonb(NULL::int), to_jsonb(n.max_retries)),
                        (
                            'customer_config_id',
                            to_jsonb(NULL::uuid),
                            to_jsonb(n.customer_config_id)
                        ),
                        (
                            'scheduled_for',
                            to_jsonb(NULL::text),
                            to_jsonb(
                                to_char(
                                    n.scheduled_for AT TIME ZONE 'UTC',
                                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                                )
                            )
                        )
                ) AS f (name, old, new)
                UNION ALL
                SELECT
                    'config.' || key,
                    CASE
                        WHEN octet_length(o.value::text) > 1024 AND NOT false
                            THEN jsonb_build_object(
                                'bytes',
                                octet_length(o.value::text),
                                'sha256',
                                encode(sha256(convert_to(o.value::text, 'UTF8')), 'hex')
                            )
                        ELSE o.value
                    END,
                    CASE
                        WHEN octet_length(n.value::text) > 1024 AND NOT false
                            THEN jsonb_build_object(
                                'bytes',
                                octet_length(n.value::text),
                                'sha256',
                                encode(sha256(convert_to(n.value::text, 'UTF8')), 'hex')
                            )
                        ELSE n.value
                    END
                FROM jsonb_each('{}'::jsonb) o
                FULL JOIN jsonb_each(n.config) n USING (key)
                WHERE o.value IS DISTINCT FROM n.value
                UNION ALL
                SELECT
                    'metadata.' || key,
                    CASE
                        WHEN octet_length(o.value::text) > 1024 AND NOT false
                            THEN jsonb_build_object(
                                'bytes',
                                octet_length(o.value::text),
                                'sha256',
                                encode(sha256(convert_to(o.value::text, 'UTF8')), 'hex')
                            )
                        ELSE o.value
                    END,
                    CASE
                        WHEN octet_length(n.value::text) > 1024 AND NOT false
                            THEN jsonb_build_object(
                                'bytes',
                                octet_length(n.value::text),
                                'sha256',
                                encode(sha256(convert_to(n.value::text, 'UTF8')), 'hex')
                            )
                        ELSE n.value
                    END
                FROM jsonb_each('{}'::jsonb) o
                FULL JOIN jsonb_each(n.metadata) n USING (key)
                WHERE o.value IS DISTINCT FROM n.value
            ) AS d (name, old, new)
            WHERE d.old IS DISTINCT FROM d.new
        ) AS changes,
        '{}'::jsonb AS stats,
        NULL::bigint AS previous_seq,
        0 AS retry_count,
        NULL::float8 AS seconds,
        NULL::text AS error_message,
        %(action)s::text AS action,
        %(actor_type)s::text AS actor_type,
        %(actor_id)s::text AS actor_id,
        %(actor_name)s::text AS actor_name,
        %(request_id)s::text AS request_id,
        %(address)s::text AS address
    FROM n
    WHERE NOT EXISTS (SELECT FROM large)
),
event AS MATERIALIZED (
    SELECT
        v.*,
        sha256(
            ''::bytea || convert_to(
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
    INSERT INTO scrape_jobs (
        id, domain_id, customer_config_id, domain, job_type, priority, max_retries, max_concurrent,
        config, metadata, scheduled_for, created_at, updated_at, chain
    )
    SELECT
        n.id,
        n.domain_id,
        n.customer_config_id,
        n.domain,
        n.job_type,
        n.priority,
        n.max_retries,
        n.max_concurrent,
        n.config,
        n.metadata,
        n.scheduled_for,
        n.moment,
        n.moment,
        event.hash
    FROM n
    JOIN event ON event.job_id = n.id
    RETURNING *
),
for_statistics AS (INSERT INTO uncounted_events (job_id, seq) SELECT job.id, job.version FROM job)
SELECT
    job.id,
    NULL,
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
UNION ALL
SELECT large.id, large.name, NULL, NULL
FROM large
