-- replay_webhooks
--
-- Of the next at most `limit` status changes of the period, in the order of their times, those that
-- match the endpoint's filters are due to it now: an existing delivery again, otherwise a new one.
-- Changes of jobs that are removed, or not visible to the caller, are left out. The row has the
-- number of deliveries, whether there may be more changes, and the position of the last one.
--
-- Parameters: endpoint_id, tenant, after_at, until, after_id, after_seq, limit
-- Row security: all customers

WITH endpoint AS MATERIALIZED (
    SELECT *
    FROM webhook_endpoints w
    WHERE w.id = %(endpoint_id)s::uuid
        AND w.active
        AND (%(tenant)s::uuid IS NULL OR w.customer_config_id = %(tenant)s::uuid)
    FOR KEY SHARE
),
step AS MATERIALIZED (
    SELECT e.*
    FROM job_events e
    WHERE e.stats IS NOT NULL
        AND e.at >= %(after_at)s::timestamptz
        AND e.at < %(until)s::timestamptz
        AND (e.at, e.job_id, e.seq) > (
            %(after_at)s::timestamptz, %(after_id)s::uuid, %(after_seq)s::bigint
        )
    ORDER BY e.at, e.job_id, e.seq
    LIMIT (SELECT %(limit)s::int)
),
wanted AS MATERIALIZED (
    SELECT
        e.job_id,
        e.seq,
        w.id AS endpoint_id,
        (
            SELECT row_to_json(b)::text
            FROM (
                SELECT
                    'job_status_changed' AS event,
                    e.job_id,
                    c.domain,
                    e.old_status,
                    e.new_status,
                    e.stats,
                    to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS timestamp
            ) AS b
        ) AS body
    FROM endpoint w
    CROSS JOIN step e
    CROSS JOIN LATERAL (
        SELECT j.domain, j.job_type, j.customer_config_id, e.new_status
        FROM scrape_jobs j
        WHERE j.id = e.job_id
            AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
    ) AS c
    WHERE e.old_status IS NOT NULL
        AND (
            (w.statuses IS NULL OR c.new_status = ANY(w.statuses))
            AND (w.job_types IS NULL OR c.job_type = ANY(w.job_types))
            AND (w.domains IS NULL OR c.domain = ANY(w.domains))
            AND (w.customer_config_id IS NULL OR w.customer_config_id = c.customer_config_id)
        )
),
due AS (
    INSERT INTO webhook_deliveries AS d (
        job_id, seq, endpoint_id, id, body, next_try_at, created_at
    )
    SELECT
        x.job_id,
        x.seq,
        x.endpoint_id,
        md5(concat_ws(' ', x.job_id, x.seq, x.endpoint_id))::uuid,
        x.body,
        now(),
        now()
    FROM wanted x
    ORDER BY x.job_id, x.seq
    ON CONFLICT (job_id, seq, endpoint_id) DO UPDATE
    SET
        status = 'pending',
        failures = 0,
        finished_at = NULL,
        next_try_at = CASE WHEN d.claim IS NULL THEN now() ELSE d.next_try_at END
)
SELECT
    (SELECT count(*) FROM wanted),
    (SELECT count(*) FROM step) >= %(limit)s::int,
    last.at,
    last.job_id,
    last.seq
FROM (VALUES (true)) AS one
LEFT JOIN LATERAL (SELECT at, job_id, seq FROM step ORDER BY at DESC, job_id DESC, seq DESC LIMIT 1)
    AS last ON true
