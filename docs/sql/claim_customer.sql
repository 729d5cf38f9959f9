-- claim_customer
--
-- At most `limit` of the due jobs that come next run from now on, leased to this worker. No two
-- claims return the same job, and no limit is exceeded, whatever other transactions do at the same
-- time. Jobs that others have locked are skipped, and a domain whose limit another claim checks
-- counts as full. The last row returns how many candidates were skipped, whether a partition was
-- cut off, and whether another claim may find more.
--
-- Parameters: window, domains, job_types, tenant, domain_limit, candidates, limit, tokens,
-- worker_id, action, actor_type, actor_id, actor_name, request_id, address, lease_seconds
-- Row security: all customers

WITH found AS MATERIALIZED (
    SELECT
        concat_ws(' ', v.value, p.priority) AS partition_key,
        f.id,
        f.domain,
        f.rank,
        f.free_slots,
        f.ready,
        f.position = %(window)s::int AS cut_off
    FROM generate_series(1, 10) AS p (priority)
    CROSS JOIN (VALUES (1)) AS v (value)
    CROSS JOIN LATERAL (
        SELECT w.*, w.matches AND coalesce(w.free_slots > 0, true) AS ready
        FROM (
            SELECT s.*, row_number() OVER (ORDER BY s.due_at) AS position
            FROM (
                SELECT
                    j.id,
                    j.domain,
                    greatest(j.scheduled_for, j.created_at) AS due_at,
                    greatest(j.scheduled_for, j.created_at) - j.priority * interval '14400 seconds'
                        AS rank,
                    (%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))
                        AND (
                            %(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[])
                        )
                        AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
                            AS matches,
                    CASE
                        WHEN least(%(domain_limit)s::int, j.max_concurrent) IS NOT NULL
                            THEN least(%(domain_limit)s::int, j.max_concurrent) - (
                                SELECT count(*)
                                FROM (
                                    SELECT
                                    FROM scrape_jobs r
                                    WHERE (r.status = 'running') IS TRUE AND r.domain = j.domain
                                    LIMIT least(%(domain_limit)s::int, j.max_concurrent)
                                ) AS r
                            )
                    END AS free_slots
                FROM scrape_jobs j
                WHERE CASE
                    j.status || ' in customer_due'
                    WHEN 'pending in customer_due' THEN true
                    ELSE false
                END
                    AND j.priority = p.priority
                    AND greatest(j.scheduled_for, j.created_at) <= now()
                    AND j.customer_config_id = %(tenant)s::uuid
                ORDER BY greatest(j.scheduled_for, j.created_at)
                LIMIT %(window)s::int
            ) AS s
        ) AS w
        WHERE (w.matches AND coalesce(w.free_slots > 0, true)) OR w.position = %(window)s::int
        ORDER BY w.due_at
        LIMIT %(candidates)s::int
    ) AS f
),
cut AS MATERIALIZED (SELECT coalesce(bool_or(f.cut_off), false) AS off FROM found f),
horizon AS MATERIALIZED (
    -- A partition that was read to its limit has more jobs. They may come before jobs of
    -- other partitions, but not before the last job that was read.
    SELECT min(l.last) AS rank
    FROM (
        SELECT max(f.rank) AS last
        FROM found f
        GROUP BY f.partition_key
        HAVING count(*) >= %(candidates)s::int
    ) AS l
),
candidate AS MATERIALIZED (
    -- A job that exceeds its limit does not run, but the next ones of its domain count it. So
    -- the second one that seems to exceed its limit may be able to start: the domain is read
    -- no further, because a later job must not take its place.
    SELECT e.id, e.rank
    FROM
        (
            SELECT
                n.*,
                count(*) FILTER (WHERE n.nth > n.free_slots) OVER (
                    PARTITION BY n.domain ORDER BY n.rank, n.id
                ) AS exceeding
            FROM (
                SELECT f.*, row_number() OVER (PARTITION BY f.domain ORDER BY f.rank, f.id) AS nth
                FROM found f
                WHERE f.ready
            ) AS n
        ) AS e,
        cut,
        horizon
    WHERE NOT cut.off
        AND e.exceeding <= 1
        AND coalesce(e.nth <= e.free_slots, true)
        AND coalesce(e.rank <= horizon.rank, true)
    ORDER BY e.rank, e.id
    LIMIT %(candidates)s::int
),
locked AS MATERIALIZED (
    SELECT j.*, greatest(now(), j.updated_at) AS t, c.rank
    FROM candidate c
    JOIN scrape_jobs j ON j.id = c.id
    WHERE (j.status = 'pending') IS TRUE AND greatest(j.scheduled_for, j.created_at) <= now()
    ORDER BY c.rank, c.id
    LIMIT %(limit)s::int
    FOR NO KEY UPDATE OF j SKIP LOCKED
),
numbered AS MATERIALIZED (
    SELECT
        j.*,
        least(%(domain_limit)s::int, j.max_concurrent) AS job_limit,
        row_number() OVER (PARTITION BY j.domain ORDER BY j.rank, j.id) AS nth
    FROM locked j
),
picked AS MATERIALIZED (
    SELECT n.*, (%(tokens)s::text[])[row_number() OVER (ORDER BY n.rank, n.id)] AS token
    FROM numbered n
    WHERE CASE
        WHEN n.job_limit IS NULL THEN true
        WHEN NOT pg_try_advisory_xact_lock(hashtextextended('queue ' || n.domain, 0)) THEN false
        -- The function reads with a snapshot of its own: this statement's snapshot may
        -- not include the jobs that the lock's last holder has started.
        ELSE running_jobs(n.domain) + n.nth <= n.job_limit
    END
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
    WHERE j.id = picked.id
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
    picked.rank,
    job.id,
    picked.token,
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
    ),
    NULL,
    NULL,
    NULL
FROM job
JOIN picked ON picked.id = job.id
UNION ALL
SELECT NULL
    ,
    NULL,
    NULL,
    NULL,
    (SELECT count(*) FROM candidate) - (SELECT count(*) FROM picked),
    (SELECT off FROM cut),
    (SELECT count(*) FROM found WHERE ready) > (SELECT count(*) FROM candidate)
ORDER BY rank, id
