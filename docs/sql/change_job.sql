-- change_job
--
-- The job's row is locked, checked as it is then, and changed together with its event. If the
-- status changes, the outbox and uncounted_events get a row each. Or nothing is changed, and the
-- first refusal is named. No row: the job does not exist. The rules come as parameters. A value
-- that the job already has counts as not given. Only the status, metadata and the fields of
-- _PARAMETER_FIELDS are changed.
--
-- Parameters: status, id, tenant, sets_error_message, must_change_status, error_message,
-- sets_stats, stats, sets_retry_count, retry_count, resets_retries, counts_retry, sets_started_at,
-- started_at, sets_completed_at, completed_at, delay_seconds, merges_metadata, metadata,
-- lease_expired, lease_token, versions, entered_from, action, actor_type, actor_id, actor_name,
-- request_id, address

WITH cur AS MATERIALIZED (
    SELECT
        j.*,
        greatest(now(), j.updated_at) AS t,
        coalesce(%(status)s::text, j.status) AS new_status,
        coalesce(%(status)s::text, j.status) <> j.status AS changes_status,
        coalesce(%(status)s::text, j.status) <> j.status
            AND %(status)s::text = 'pending' AS is_retry
    FROM scrape_jobs j
    WHERE j.id = %(id)s::uuid
        AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
    FOR NO KEY UPDATE
),
compared AS NOT MATERIALIZED (
    SELECT NULL::text[] AS fixed_fields, NULL::text[] AS queue_fields, NULL::jsonb AS queue_values
),
new AS MATERIALIZED (
    SELECT
        cur.new_status AS status,
        CASE
            WHEN %(sets_error_message)s::bool
                AND (
                    is_retry
                    AND NOT %(must_change_status)s::bool
                    AND %(error_message)s::text IS NOT DISTINCT FROM error_message
                ) IS NOT TRUE
                THEN %(error_message)s::text
            WHEN is_retry THEN NULL
            ELSE error_message
        END AS error_message,
        CASE
            WHEN %(sets_stats)s::bool AND (is_retry AND %(stats)s::jsonb = stats) IS NOT TRUE
                THEN %(stats)s::jsonb
            WHEN is_retry THEN '{}'
            ELSE stats
        END AS stats,
        CASE
            WHEN %(sets_retry_count)s::bool
                AND (is_retry AND %(retry_count)s::int = cur.retry_count) IS NOT TRUE
                THEN %(retry_count)s::int
            WHEN is_retry AND %(resets_retries)s::bool THEN 0
            WHEN is_retry AND %(counts_retry)s::bool THEN least(cur.retry_count, 2147483646) + 1
            ELSE cur.retry_count
        END AS retry_count,
        CASE
            WHEN %(sets_started_at)s::bool
                AND (
                    date_trunc('milliseconds', %(started_at)s::timestamptz) IS NOT DISTINCT FROM
                        date_trunc('milliseconds', cur.started_at)
                ) IS NOT TRUE
                THEN %(started_at)s::timestamptz
            WHEN changes_status AND new_status = 'running' THEN t
            WHEN is_retry THEN NULL
            ELSE started_at
        END AS started_at,
        CASE
            WHEN %(sets_completed_at)s::bool
                AND (
                    date_trunc('milliseconds', %(completed_at)s::timestamptz) IS NOT DISTINCT FROM
                        date_trunc('milliseconds', cur.completed_at)
                    OR NOT changes_status
                        AND %(status)s::text = ANY(ARRAY['completed', 'cancelled'])
                        AND %(completed_at)s::timestamptz IS NULL
                ) IS NOT TRUE
                THEN %(completed_at)s::timestamptz
            WHEN changes_status AND new_status = ANY(ARRAY['completed', 'cancelled', 'failed'])
                THEN t
            WHEN is_retry THEN NULL
            ELSE completed_at
        END AS completed_at,
        CASE
            WHEN 'priority' = ANY(compared.queue_fields)
                THEN (compared.queue_values ->> 'priority')::int
            ELSE priority
        END AS priority,
        CASE
            WHEN 'max_retries' = ANY(compared.queue_fields)
                THEN (compared.queue_values ->> 'max_retries')::int
            ELSE max_retries
        END AS max_retries,
        CASE
            WHEN 'config' = ANY(compared.queue_fields) THEN compared.queue_values -> 'config'
            ELSE config
        END AS config,
        CASE
            WHEN 'config' = ANY(compared.queue_fields)
                THEN CASE
                    WHEN compared.queue_values ? 'max_concurrent'
                        THEN (compared.queue_values ->> 'max_concurrent')::int
                    ELSE max_concurrent
                END
            ELSE max_concurrent
        END AS max_concurrent,
        CASE
            WHEN 'scheduled_for' = ANY(compared.queue_fields)
                THEN (compared.queue_values ->> 'scheduled_for')::timestamptz
            ELSE CASE
                WHEN is_retry THEN t + make_interval(secs => %(delay_seconds)s::float8)
                WHEN changes_status THEN NULL
                ELSE scheduled_for
            END
        END AS scheduled_for,
        CASE
            WHEN %(merges_metadata)s::bool THEN metadata || %(metadata)s::jsonb
            ELSE coalesce(%(metadata)s::jsonb, metadata)
        END AS metadata,
        CASE WHEN is_retry THEN NULL ELSE worker_id END AS worker_id,
        CASE WHEN is_retry OR %(lease_expired)s::bool THEN NULL ELSE lease_token END AS lease_token,
        CASE
            WHEN changes_status AND new_status <> 'cancelled' THEN NULL
            WHEN status = 'cancelled' AND %(lease_token)s::text IS NOT NULL THEN NULL
            ELSE lease_seconds
        END AS lease_seconds,
        CASE
            WHEN changes_status THEN NULL
            WHEN %(lease_token)s::text IS NOT NULL AND status = 'running'
                THEN t + make_interval(secs => lease_seconds)
            ELSE lease_expires_at
        END AS lease_expires_at
    FROM cur, compared
),
checked AS MATERIALIZED (
    SELECT
        CASE
            WHEN cur.lease_token IS DISTINCT FROM coalesce(%(lease_token)s::text, cur.lease_token)
                THEN 'lease'
            WHEN %(lease_expired)s::bool AND (cur.lease_expires_at < cur.t) IS NOT TRUE THEN 'lease'
            -- The token of a lease that is over is valid for a retry, and to repeat the report of
            -- the job's end.
            WHEN %(lease_token)s::text IS NOT NULL
                AND cur.lease_seconds IS NULL
                AND NOT %(must_change_status)s::bool
                AND (
                    cur.status = 'cancelled'
                    OR %(status)s::text IS DISTINCT FROM cur.status
                    OR compared.queue_fields IS NOT NULL
                )
                THEN 'lease'
            WHEN NOT cur.version = ANY(%(versions)s::bigint[]) THEN 'version'
            WHEN NOT cur.changes_status AND %(must_change_status)s::bool THEN 'transition'
            WHEN cur.changes_status AND NOT cur.status = ANY(%(entered_from)s::text[])
                THEN 'transition'
            WHEN cur.is_retry
                AND %(counts_retry)s::bool
                AND CASE WHEN %(resets_retries)s::bool THEN 0 ELSE cur.retry_count END >=
                    new.max_retries
                THEN 'retries'
            WHEN compared.fixed_fields IS NOT NULL
                THEN 'fixed_fields ' || array_to_string(compared.fixed_fields, ' ')
            WHEN compared.queue_fields IS NOT NULL
                AND NOT cur.status = ANY(ARRAY['pending', 'failed'])
                THEN 'queue_fields ' || array_to_string(compared.queue_fields, ' ')
            WHEN new.status = ANY(ARRAY['completed', 'cancelled']) AND new.completed_at IS NULL
                THEN 'completed_at'
            WHEN new.status <> 'pending' AND new.scheduled_for IS NOT NULL THEN 'scheduled_for'
            WHEN %(sets_stats)s::bool AND octet_length(new.stats::text) > 262144 THEN 'stats'
            WHEN %(metadata)s::jsonb IS NOT NULL AND octet_length(new.metadata::text) > 262144
                THEN 'metadata'
            WHEN 'config' = ANY(compared.queue_fields) AND octet_length(new.config::text) > 262144
                THEN 'config'
        END AS refusal,
        new.max_retries
    FROM cur, compared, new
),
event_values AS MATERIALIZED (
    SELECT
        cur.id AS job_id,
        cur.version + 1 AS seq,
        cur.t AS at,
        cur.status AS old_status,
        new.status AS new_status,
        (
            SELECT coalesce(
                jsonb_object_agg(d.name, jsonb_build_object('from', d.old, 'to', d.new)), '{}'
            )
            FROM (
                SELECT f.name, f.old, f.new
                FROM (
                    VALUES
                        ('error_message', to_jsonb(cur.error_message), to_jsonb(new.error_message)),
                        ('retry_count', to_jsonb(cur.retry_count), to_jsonb(new.retry_count)),
                        (
                            'started_at',
                            to_jsonb(
                                to_char(
                                    cur.started_at AT TIME ZONE 'UTC',
                                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                                )
                            ),
                            to_jsonb(
                                to_char(
                                    new.started_at AT TIME ZONE 'UTC',
                                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                                )
                            )
                        ),
                        (
                            'completed_at',
                            to_jsonb(
                                to_char(
                                    cur.completed_at AT TIME ZONE 'UTC',
                                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                                )
                            ),
                            to_jsonb(
                                to_char(
                                    new.completed_at AT TIME ZONE 'UTC',
                                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                                )
                            )
                        ),
                        (
                            'scheduled_for',
                            to_jsonb(
                                to_char(
                                    cur.scheduled_for AT TIME ZONE 'UTC',
                                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                                )
                            ),
                            to_jsonb(
                                to_char(
                                    new.scheduled_for AT TIME ZONE 'UTC',
                                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                                )
                            )
                        ),
                        ('worker_id', to_jsonb(cur.worker_id), to_jsonb(new.worker_id))
                ) AS f (name, old, new)
                UNION ALL
                SELECT
                    'stats.' || key,
                    CASE
                        WHEN octet_length(o.value::text) > 1024 AND NOT cur.is_retry
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
                FROM jsonb_each(cur.stats) o
                FULL JOIN jsonb_each(new.stats) n USING (key)
                WHERE o.value IS DISTINCT FROM n.value
                UNION ALL
                SELECT
                    'metadata.' || key,
                    CASE
                        WHEN octet_length(o.value::text) > 1024 AND NOT cur.is_retry
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
                FROM jsonb_each(cur.metadata) o
                FULL JOIN jsonb_each(new.metadata) n USING (key)
                WHERE o.value IS DISTINCT FROM n.value
            ) AS d (name, old, new)
            WHERE d.old IS DISTINCT FROM d.new
        ) || CASE
            WHEN compared.queue_fields IS NULL THEN '{}'
            ELSE (
                SELECT coalesce(
                    jsonb_object_agg(d.name, jsonb_build_object('from', d.old, 'to', d.new)), '{}'
                )
                FROM (
                    SELECT f.name, f.old, f.new
                    FROM (
                        VALUES
                            ('priority', to_jsonb(cur.priority), to_jsonb(new.priority)),
                            ('max_retries', to_jsonb(cur.max_retries), to_jsonb(new.max_retries))
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
                    FROM jsonb_each(cur.config) o
                    FULL JOIN jsonb_each(new.config) n USING (key)
                    WHERE o.value IS DISTINCT FROM n.value
                ) AS d (name, old, new)
                WHERE d.old IS DISTINCT FROM d.new
            )
        END AS changes,
        CASE WHEN cur.changes_status THEN new.stats END AS stats,
        CASE WHEN cur.changes_status THEN cur.status_seq END AS previous_seq,
        CASE WHEN cur.changes_status THEN new.retry_count END AS retry_count,
        CASE
            WHEN cur.changes_status
                AND cur.status = 'running'
                AND new.completed_at >= new.started_at
                THEN extract(epoch FROM new.completed_at - new.started_at)::float8
            WHEN cur.changes_status AND cur.status = 'running' AND new.completed_at < new.started_at
                THEN 0
        END AS seconds,
        CASE WHEN cur.changes_status AND new.status = 'failed' THEN new.error_message END
            AS error_message,
        %(action)s::text AS action,
        %(actor_type)s::text AS actor_type,
        %(actor_id)s::text AS actor_id,
        %(actor_name)s::text AS actor_name,
        %(request_id)s::text AS request_id,
        %(address)s::text AS address
    FROM cur, compared, new, checked
    WHERE checked.refusal IS NULL
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
    SET
        status = new.status,
        error_message = new.error_message,
        stats = new.stats,
        retry_count = new.retry_count,
        started_at = new.started_at,
        completed_at = new.completed_at,
        priority = new.priority,
        max_retries = new.max_retries,
        config = new.config,
        max_concurrent = new.max_concurrent,
        scheduled_for = new.scheduled_for,
        metadata = new.metadata,
        worker_id = new.worker_id,
        lease_token = new.lease_token,
        lease_seconds = new.lease_seconds,
        lease_expires_at = new.lease_expires_at,
        updated_at = cur.t,
        version = cur.version + 1,
        chain = event.hash,
        status_seq = CASE WHEN cur.changes_status THEN cur.version + 1 ELSE cur.status_seq END
    FROM cur, new, event
    WHERE j.id = cur.id AND j.id = %(id)s::uuid
    RETURNING j.*
),
for_webhooks AS (
    INSERT INTO outbox (job_id, seq, created_at, customer)
    SELECT
        job.id,
        job.version,
        job.updated_at,
        coalesce(job.customer_config_id, '00000000-0000-0000-0000-000000000000')
    FROM cur, job
    WHERE cur.changes_status
),
for_statistics AS (
    INSERT INTO uncounted_events (job_id, seq)
    SELECT job.id, job.version
    FROM cur, job
    WHERE cur.changes_status
)
SELECT
    cur.status,
    cur.retry_count,
    checked.max_retries,
    checked.refusal,
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
FROM cur
CROSS JOIN checked
LEFT JOIN job ON job.id = cur.id
