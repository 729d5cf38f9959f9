-- count_events
--
-- Removes at most `limit` uncounted status changes and adds them to the totals.
--
-- Parameters: limit

WITH taken AS MATERIALIZED (
    DELETE FROM uncounted_events
    WHERE (job_id, seq) IN (SELECT job_id, seq FROM uncounted_events LIMIT %(limit)s::int)
    RETURNING job_id, seq
),
contribution AS MATERIALIZED (
    SELECT
        e.at,
        e.job_id,
        coalesce(j.customer_config_id::text, 'none') AS customer,
        j.domain,
        j.job_type,
        e.new_status AS status,
        1 AS jobs,
        e.retry_count > 0 AS retried,
        CASE WHEN e.new_status = 'completed' THEN e.seconds END AS seconds,
        CASE
            WHEN e.new_status = 'completed' AND e.seconds IS NOT NULL
                THEN CASE
                    WHEN e.seconds < 0.001 THEN -1000
                    ELSE floor(ln(e.seconds) / ln(1.0816::float8))::int
                END
        END AS bucket,
        CASE
            WHEN e.seconds > 0
                THEN CASE
                    WHEN jsonb_typeof(x."pagesProcessed") = 'number'
                        AND (x."pagesProcessed")::numeric BETWEEN 0 AND 1e15
                        THEN (x."pagesProcessed")::float8
                END
        END AS pages,
        e.seconds AS attempt_seconds,
        (
            SELECT m[1]::float8 * CASE
                upper(m[2])
                WHEN 'K' THEN 0.001
                WHEN 'M' THEN 1.0
                WHEN 'G' THEN 1000.0
                WHEN 'T' THEN 1000000.0
                ELSE CASE WHEN m[3] IS NULL THEN 1.0 ELSE 0.000001 END
            END
            FROM regexp_match(
                x."memoryUsage" #>> '{}',
                '^ *([0-9]{1,12}(?:\.[0-9]{1,18})?) *([kKmMgGtT]?)(i?[bB])? *$'
            ) AS m
        ) AS memory,
        CASE
            WHEN jsonb_typeof(x."cpuUsage") = 'number'
                AND (x."cpuUsage")::numeric BETWEEN 0 AND 1e15
                THEN (x."cpuUsage")::float8
        END AS cpu,
        CASE
            WHEN jsonb_typeof(x."networkLatency") = 'number'
                AND (x."networkLatency")::numeric BETWEEN 0 AND 1e15
                THEN (x."networkLatency")::float8
        END AS latency,
        CASE
            WHEN e.new_status = 'failed' AND e.action <> 'released'
                THEN left(
                    regexp_replace(
                        regexp_replace(
                            regexp_replace(
                                regexp_replace(
                                    regexp_replace(
                                        left(
                                            coalesce(
                                                nullif(e.error_message, ''), 'No error message'
                                            ),
                                            500
                                        ),
                                        '[a-z][a-z0-9+.-]*://[^\s<>\"'']+',
                                        '<url>',
                                        'gi'
                                    ),
                                    '\m[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\M',
                                    '<id>',
                                    'gi'
                                ),
                                '\m(?=[0-9_-]*[a-z])(?:[a-z_-]*[0-9]){4,}[0-9a-z_-]*\M',
                                '<id>',
                                'gi'
                            ),
                            '[0-9]+(?:[.,:][0-9]+)*',
                            '<n>',
                            'gi'
                        ),
                        '\s+',
                        ' ',
                        'gi'
                    ),
                    200
                )
        END AS pattern
    FROM taken u
    CROSS JOIN LATERAL (
        SELECT * FROM job_events e WHERE e.job_id = u.job_id AND e.seq = u.seq LIMIT 1
    ) AS e
    CROSS JOIN LATERAL (SELECT * FROM scrape_jobs j WHERE j.id = u.job_id LIMIT 1) AS j
    CROSS JOIN LATERAL (
        -- Reads each document once: every access to a large one decompresses all of it.
        SELECT s."pagesProcessed", p.*
        FROM
            jsonb_to_record(CASE WHEN e.old_status = 'running' THEN e.stats ELSE '{}' END) AS s (
                "pagesProcessed" jsonb, performance jsonb
            ),
            jsonb_to_record(
                CASE WHEN jsonb_typeof(s.performance) = 'object' THEN s.performance ELSE '{}' END
            ) AS p ("memoryUsage" jsonb, "cpuUsage" jsonb, "networkLatency" jsonb)
    ) AS x
    UNION ALL
    SELECT
        p.at,
        p.job_id,
        coalesce(j.customer_config_id::text, 'none') AS customer,
        j.domain,
        j.job_type,
        p.new_status,
        -1,
        p.retry_count > 0,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL
    FROM taken u
    CROSS JOIN LATERAL (
        SELECT * FROM job_events e WHERE e.job_id = u.job_id AND e.seq = u.seq LIMIT 1
    ) AS e
    CROSS JOIN LATERAL (
        SELECT * FROM job_events p WHERE p.job_id = e.job_id AND p.seq = e.previous_seq LIMIT 1
    ) AS p
    CROSS JOIN LATERAL (SELECT * FROM scrape_jobs j WHERE j.id = u.job_id LIMIT 1) AS j
),
part AS MATERIALIZED (
    -- One row for each grain of time, for all jobs together and for the kind of the job.
    SELECT
        g.grain,
        CASE
            g.grain
            WHEN 0 THEN timestamptz 'epoch'
            ELSE date_bin(make_interval(secs => g.grain), c.at, timestamptz 'epoch')
        END AS start,
        k.customer,
        k.domain,
        k.job_type,
        c.job_id,
        c.at,
        c.status,
        c.jobs,
        c.retried,
        c.seconds,
        c.bucket,
        c.pages,
        c.attempt_seconds,
        c.memory,
        c.cpu,
        c.latency,
        c.pattern
    FROM contribution c
    CROSS JOIN LATERAL (
        VALUES
            ('', '', '', ARRAY[0, 86400, 21600, 3600, 600, 60]),
            (c.customer, c.domain, c.job_type, ARRAY[0, 86400, 3600, 900])
    ) AS k (customer, domain, job_type, grains)
    CROSS JOIN unnest(k.grains) AS g (grain)
),
totals AS (
    INSERT INTO job_totals AS t (
        layout, grain, domain, job_type, customer, start, pending, running, completed, failed,
        cancelled, retried, timed, memory_samples, cpu_samples, latency_samples, seconds, pages,
        page_seconds, memory_sum, cpu_sum, latency_sum, memory_peak, cpu_peak, latency_peak
    )
    SELECT
        2,
        grain,
        domain,
        job_type,
        customer,
        start,
        coalesce(sum(c.jobs) FILTER (WHERE c.status = 'pending'), 0)::bigint AS pending,
        coalesce(sum(c.jobs) FILTER (WHERE c.status = 'running'), 0)::bigint AS running,
        coalesce(sum(c.jobs) FILTER (WHERE c.status = 'completed'), 0)::bigint AS completed,
        coalesce(sum(c.jobs) FILTER (WHERE c.status = 'failed'), 0)::bigint AS failed,
        coalesce(sum(c.jobs) FILTER (WHERE c.status = 'cancelled'), 0)::bigint AS cancelled,
        coalesce(sum(c.jobs) FILTER (WHERE c.retried), 0)::bigint AS retried,
        count(c.seconds) AS timed,
        count(c.memory) AS memory_samples,
        count(c.cpu) AS cpu_samples,
        count(c.latency) AS latency_samples,
        coalesce(sum(c.seconds), 0) AS seconds,
        coalesce(sum(c.pages), 0) AS pages,
        coalesce(sum(c.attempt_seconds) FILTER (WHERE c.pages IS NOT NULL), 0) AS page_seconds,
        coalesce(sum(c.memory), 0) AS memory_sum,
        coalesce(sum(c.cpu), 0) AS cpu_sum,
        coalesce(sum(c.latency), 0) AS latency_sum,
        max(c.memory) AS memory_peak,
        max(c.cpu) AS cpu_peak,
        max(c.latency) AS latency_peak
    FROM part c
    GROUP BY grain, domain, job_type, customer, start
    ON CONFLICT (grain, domain, job_type, customer, start) DO UPDATE
    SET
        pending = t.pending + excluded.pending,
        running = t.running + excluded.running,
        completed = t.completed + excluded.completed,
        failed = t.failed + excluded.failed,
        cancelled = t.cancelled + excluded.cancelled,
        retried = t.retried + excluded.retried,
        timed = t.timed + excluded.timed,
        memory_samples = t.memory_samples + excluded.memory_samples,
        cpu_samples = t.cpu_samples + excluded.cpu_samples,
        latency_samples = t.latency_samples + excluded.latency_samples,
        seconds = t.seconds + excluded.seconds,
        pages = t.pages + excluded.pages,
        page_seconds = t.page_seconds + excluded.page_seconds,
        memory_sum = t.memory_sum + excluded.memory_sum,
        cpu_sum = t.cpu_sum + excluded.cpu_sum,
        latency_sum = t.latency_sum + excluded.latency_sum,
        memory_peak = greatest(t.memory_peak, excluded.memory_peak),
        cpu_peak = greatest(t.cpu_peak, excluded.cpu_peak),
        latency_peak = greatest(t.latency_peak, excluded.latency_peak)
),
durations AS (
    INSERT INTO job_duration_totals AS t (grain, domain, job_type, customer, start, bucket, jobs)
    SELECT grain, domain, job_type, customer, start, bucket, count(*)
    FROM part
    WHERE bucket IS NOT NULL
    GROUP BY grain, domain, job_type, customer, start, bucket
    ON CONFLICT (grain, domain, job_type, customer, start, bucket) DO UPDATE
    SET jobs = t.jobs + excluded.jobs
),
reported AS MATERIALIZED (
    SELECT
        grain,
        domain,
        job_type,
        customer,
        start,
        pattern,
        count(*) AS failures,
        (array_agg(job_id ORDER BY at DESC))[1] AS job_id
    FROM part
    WHERE pattern IS NOT NULL
    GROUP BY grain, domain, job_type, customer, start, pattern
),
stored AS MATERIALIZED (
    SELECT t.*
    FROM (SELECT DISTINCT grain, domain, start, job_type, customer FROM reported) AS g
    CROSS JOIN LATERAL (
        SELECT t.ctid AS row_id, t.*
        FROM job_error_totals t
        WHERE t.grain = g.grain
            AND t.domain = g.domain
            AND t.start = g.start
            AND t.job_type = g.job_type
            AND t.customer = g.customer
        ORDER BY t.pattern
        LIMIT 1000
    ) AS t
),
candidate AS (
    SELECT
        grain,
        domain,
        start,
        job_type,
        customer,
        pattern,
        s.row_id,
        r.failures AS added,
        coalesce(r.job_id, s.job_id) AS job_id,
        coalesce(s.failures, 0) + coalesce(r.failures, 0) AS failures,
        s.missed
    FROM stored s
    FULL JOIN reported r USING (grain, domain, start, job_type, customer, pattern)
    WHERE pattern <> ''
),
entered AS (
    SELECT c.*, coalesce(c.missed, s.missed, 0) AS doubt
    FROM candidate c
    LEFT JOIN stored s ON s.grain = c.grain
        AND s.domain = c.domain
        AND s.start = c.start
        AND s.job_type = c.job_type
        AND s.customer = c.customer
        AND s.pattern = ''
),
ranked AS MATERIALIZED (
    SELECT
        grain,
        domain,
        start,
        job_type,
        customer,
        pattern,
        row_id,
        added,
        job_id,
        failures,
        doubt AS missed,
        CASE grain WHEN 60 THEN 20 WHEN 600 THEN 50 WHEN 900 THEN 50 ELSE 100 END AS kept,
        row_number() OVER (
            PARTITION BY grain, domain, start, job_type, customer ORDER BY failures + doubt DESC,
            failures DESC, row_id NULLS LAST
        ) AS place
    FROM entered
),
added AS (
    INSERT INTO job_error_totals AS t (
        grain, domain, start, job_type, customer, pattern, failures, job_id, missed
    )
    SELECT grain, domain, start, job_type, customer, pattern, added, job_id, missed
    FROM ranked
    WHERE place <= kept AND added > 0
    ON CONFLICT (grain, domain, start, job_type, customer, pattern) DO UPDATE
    SET failures = t.failures + excluded.failures, job_id = excluded.job_id
),
dropped AS (
    DELETE FROM job_error_totals
    WHERE ctid = ANY (ARRAY(SELECT row_id FROM ranked WHERE place > kept AND row_id IS NOT NULL))
),
rest AS (
    INSERT INTO job_error_totals AS t (
        grain, domain, start, job_type, customer, pattern, failures, job_id, missed
    )
    SELECT
        grain,
        domain,
        start,
        job_type,
        customer,
        '',
        sum(failures),
        (array_agg(job_id ORDER BY place))[1],
        max(failures + missed)
    FROM ranked
    WHERE place > kept
    GROUP BY grain, domain, start, job_type, customer
    ON CONFLICT (grain, domain, start, job_type, customer, pattern) DO UPDATE
    SET
        failures = t.failures + excluded.failures,
        job_id = excluded.job_id,
        missed = greatest(t.missed, excluded.missed)
)
SELECT count(*)
FROM taken
