-- read_statistics_of_domain_by_day
--
-- The figures of the window as of one moment, for all jobs and for each group, at most one group
-- more than an answer may have.
--
-- Parameters: counts, counted_from, counted_to, customer, domain, job_type, tenant, edge_1_start,
-- edge_1_end, edge_2_start, edge_2_end, period_places, period_starts, period_ends, grains, starts,
-- ends, places

WITH pending_event AS MATERIALIZED (SELECT job_id, seq FROM uncounted_events),
loose AS MATERIALIZED (
    -- Changes that are in no span of totals: not counted yet, or at an edge.
    SELECT *
    FROM (
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
        FROM pending_event u
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
                    CASE
                        WHEN jsonb_typeof(s.performance) = 'object' THEN s.performance ELSE '{}'
                    END
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
        FROM pending_event u
        CROSS JOIN LATERAL (
            SELECT * FROM job_events e WHERE e.job_id = u.job_id AND e.seq = u.seq LIMIT 1
        ) AS e
        CROSS JOIN LATERAL (
            SELECT * FROM job_events p WHERE p.job_id = e.job_id AND p.seq = e.previous_seq LIMIT 1
        ) AS p
        CROSS JOIN LATERAL (SELECT * FROM scrape_jobs j WHERE j.id = u.job_id LIMIT 1) AS j
    ) AS c
    WHERE %(counts)s::bool
        AND c.at >= %(counted_from)s::timestamptz
        AND c.at < %(counted_to)s::timestamptz
        AND (%(customer)s::text IS NULL OR c.customer = %(customer)s::text)
        AND (%(domain)s::text IS NULL OR c.domain = %(domain)s::text)
        AND (%(job_type)s::text IS NULL OR c.job_type = %(job_type)s::text)
        AND (%(tenant)s::text IS NULL OR c.customer = %(tenant)s::text)
    UNION ALL
    SELECT *
    FROM (
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
        FROM job_events e
        CROSS JOIN LATERAL (SELECT * FROM scrape_jobs j WHERE j.id = e.job_id LIMIT 1) AS j
        CROSS JOIN LATERAL (
            -- Reads each document once: every access to a large one decompresses all of it.
            SELECT s."pagesProcessed", p.*
            FROM
                jsonb_to_record(CASE WHEN e.old_status = 'running' THEN e.stats ELSE '{}' END) AS s (
                    "pagesProcessed" jsonb, performance jsonb
                ),
                jsonb_to_record(
                    CASE
                        WHEN jsonb_typeof(s.performance) = 'object' THEN s.performance ELSE '{}'
                    END
                ) AS p ("memoryUsage" jsonb, "cpuUsage" jsonb, "networkLatency" jsonb)
        ) AS x
        WHERE e.at >= %(edge_1_start)s::timestamptz
            AND e.at < %(edge_1_end)s::timestamptz
            AND e.stats IS NOT NULL
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
        FROM job_events p
        CROSS JOIN LATERAL (
            SELECT * FROM scrape_jobs j WHERE j.id = p.job_id AND j.status_seq <> p.seq LIMIT 1
        ) AS j
        WHERE p.at >= %(edge_1_start)s::timestamptz
            AND p.at < %(edge_1_end)s::timestamptz
            AND p.stats IS NOT NULL
        UNION ALL
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
        FROM job_events e
        CROSS JOIN LATERAL (SELECT * FROM scrape_jobs j WHERE j.id = e.job_id LIMIT 1) AS j
        CROSS JOIN LATERAL (
            -- Reads each document once: every access to a large one decompresses all of it.
            SELECT s."pagesProcessed", p.*
            FROM
                jsonb_to_record(CASE WHEN e.old_status = 'running' THEN e.stats ELSE '{}' END) AS s (
                    "pagesProcessed" jsonb, performance jsonb
                ),
                jsonb_to_record(
                    CASE
                        WHEN jsonb_typeof(s.performance) = 'object' THEN s.performance ELSE '{}'
                    END
                ) AS p ("memoryUsage" jsonb, "cpuUsage" jsonb, "networkLatency" jsonb)
        ) AS x
        WHERE e.at >= %(edge_2_start)s::timestamptz
            AND e.at < %(edge_2_end)s::timestamptz
            AND e.stats IS NOT NULL
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
        FROM job_events p
        CROSS JOIN LATERAL (
            SELECT * FROM scrape_jobs j WHERE j.id = p.job_id AND j.status_seq <> p.seq LIMIT 1
        ) AS j
        WHERE p.at >= %(edge_2_start)s::timestamptz
            AND p.at < %(edge_2_end)s::timestamptz
            AND p.stats IS NOT NULL
    ) AS c
    WHERE (%(customer)s::text IS NULL OR c.customer = %(customer)s::text)
        AND (%(domain)s::text IS NULL OR c.domain = %(domain)s::text)
        AND (%(job_type)s::text IS NULL OR c.job_type = %(job_type)s::text)
        AND (%(tenant)s::text IS NULL OR c.customer = %(tenant)s::text)
),
placed AS MATERIALIZED (
    -- Each change once for the whole window, and once for its hour or day.
    SELECT c.*, p.place
    FROM loose c
    CROSS JOIN LATERAL (
        SELECT NULL::int AS place
        UNION ALL
        SELECT (%(period_places)s::int[])[b.number]
        FROM width_bucket(c.at, %(period_starts)s::timestamptz[]) AS b (number)
        WHERE b.number > 0 AND c.at < (%(period_ends)s::timestamptz[])[b.number]
    ) AS p
),
measure AS MATERIALIZED (
    SELECT
        s.place AS key,
        t.pending,
        t.running,
        t.completed,
        t.failed,
        t.cancelled,
        t.retried,
        t.timed,
        t.memory_samples,
        t.cpu_samples,
        t.latency_samples,
        t.seconds,
        t.pages,
        t.page_seconds,
        t.memory_sum,
        t.cpu_sum,
        t.latency_sum,
        t.memory_peak,
        t.cpu_peak,
        t.latency_peak
    FROM unnest(
        %(grains)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(places)s::int[]
    ) AS s (grain, start, "end", place)
    CROSS JOIN LATERAL (
        SELECT *
        FROM job_totals t
        WHERE t.grain = s.grain
            AND t.domain = %(domain)s::text
            AND t.start >= s.start
            AND t.start < s."end"
            AND (%(customer)s::text IS NULL OR t.customer = %(customer)s::text)
            AND (%(domain)s::text IS NULL OR t.domain = %(domain)s::text)
            AND (%(job_type)s::text IS NULL OR t.job_type = %(job_type)s::text)
            AND (%(tenant)s::text IS NULL OR t.customer = %(tenant)s::text) OFFSET 0
    ) AS t
    UNION ALL
    SELECT
        c.place AS key,
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
    FROM placed c
    WHERE true
    GROUP BY 1
),
figures AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT f.*, f.pending + f.running + f.completed + f.failed + f.cancelled AS total
        FROM (
            SELECT
                NULL::int AS key,
                sum(m.pending) AS pending,
                sum(m.running) AS running,
                sum(m.completed) AS completed,
                sum(m.failed) AS failed,
                sum(m.cancelled) AS cancelled,
                sum(m.retried) AS retried,
                sum(m.timed) AS timed,
                sum(m.memory_samples) AS memory_samples,
                sum(m.cpu_samples) AS cpu_samples,
                sum(m.latency_samples) AS latency_samples,
                sum(m.seconds) AS seconds,
                sum(m.pages) AS pages,
                sum(m.page_seconds) AS page_seconds,
                sum(m.memory_sum) AS memory_sum,
                sum(m.cpu_sum) AS cpu_sum,
                sum(m.latency_sum) AS latency_sum,
                max(m.memory_peak) AS memory_peak,
                max(m.cpu_peak) AS cpu_peak,
                max(m.latency_peak) AS latency_peak
            FROM measure m
            WHERE key IS NULL
            UNION ALL
            SELECT
                key,
                sum(m.pending) AS pending,
                sum(m.running) AS running,
                sum(m.completed) AS completed,
                sum(m.failed) AS failed,
                sum(m.cancelled) AS cancelled,
                sum(m.retried) AS retried,
                sum(m.timed) AS timed,
                sum(m.memory_samples) AS memory_samples,
                sum(m.cpu_samples) AS cpu_samples,
                sum(m.latency_samples) AS latency_samples,
                sum(m.seconds) AS seconds,
                sum(m.pages) AS pages,
                sum(m.page_seconds) AS page_seconds,
                sum(m.memory_sum) AS memory_sum,
                sum(m.cpu_sum) AS cpu_sum,
                sum(m.latency_sum) AS latency_sum,
                max(m.memory_peak) AS memory_peak,
                max(m.cpu_peak) AS cpu_peak,
                max(m.latency_peak) AS latency_peak
            FROM measure m
            WHERE key IS NOT NULL
            GROUP BY key
        ) AS f
    ) AS f
    ORDER BY f.key IS NOT NULL, f.key DESC
    LIMIT 1002
),
bucket AS MATERIALIZED (
    SELECT s.place AS key, t.bucket, t.jobs
    FROM unnest(
        %(grains)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(places)s::int[]
    ) AS s (grain, start, "end", place)
    CROSS JOIN LATERAL (
        SELECT *
        FROM job_duration_totals t
        WHERE t.grain = s.grain
            AND t.domain = %(domain)s::text
            AND t.start >= s.start
            AND t.start < s."end"
            AND (%(customer)s::text IS NULL OR t.customer = %(customer)s::text)
            AND (%(domain)s::text IS NULL OR t.domain = %(domain)s::text)
            AND (%(job_type)s::text IS NULL OR t.job_type = %(job_type)s::text)
            AND (%(tenant)s::text IS NULL OR t.customer = %(tenant)s::text) OFFSET 0
    ) AS t
    UNION ALL
    SELECT c.place AS key, c.bucket, count(*)
    FROM placed c
    WHERE c.bucket IS NOT NULL
    GROUP BY 1, c.bucket
),
failure AS MATERIALIZED (
    SELECT s.place AS key, t.pattern, t.failures, t.job_id
    FROM unnest(
        %(grains)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(places)s::int[]
    ) AS s (grain, start, "end", place)
    CROSS JOIN LATERAL (
        SELECT *
        FROM job_error_totals t
        WHERE t.grain = s.grain
            AND t.domain = %(domain)s::text
            AND t.start >= s.start
            AND t.start < s."end"
            AND (%(customer)s::text IS NULL OR t.customer = %(customer)s::text)
            AND (%(domain)s::text IS NULL OR t.domain = %(domain)s::text)
            AND (%(job_type)s::text IS NULL OR t.job_type = %(job_type)s::text)
            AND (%(tenant)s::text IS NULL OR t.customer = %(tenant)s::text) OFFSET 0
    ) AS t
    UNION ALL
    SELECT c.place AS key, c.pattern, count(*), (array_agg(c.job_id ORDER BY c.at DESC))[1]
    FROM placed c
    WHERE c.pattern IS NOT NULL
    GROUP BY 1, c.pattern
),
quantiles AS (
    SELECT
        key,
        min(CASE bucket WHEN -1000 THEN 0 ELSE power(1.0816::float8, bucket + 0.5) END) FILTER (
            WHERE reached > floor(0.5 * (n - 1))
        ) + (
            min(CASE bucket WHEN -1000 THEN 0 ELSE power(1.0816::float8, bucket + 0.5) END) FILTER (
                WHERE reached > ceil(0.5 * (n - 1))
            ) - min(CASE bucket WHEN -1000 THEN 0 ELSE power(1.0816::float8, bucket + 0.5) END)
                FILTER (WHERE reached > floor(0.5 * (n - 1)))
        ) * ((0.5 * (n - 1)) - floor(0.5 * (n - 1))) AS p50,
        min(CASE bucket WHEN -1000 THEN 0 ELSE power(1.0816::float8, bucket + 0.5) END) FILTER (
            WHERE reached > floor(0.95 * (n - 1))
        ) + (
            min(CASE bucket WHEN -1000 THEN 0 ELSE power(1.0816::float8, bucket + 0.5) END) FILTER (
                WHERE reached > ceil(0.95 * (n - 1))
            ) - min(CASE bucket WHEN -1000 THEN 0 ELSE power(1.0816::float8, bucket + 0.5) END)
                FILTER (WHERE reached > floor(0.95 * (n - 1)))
        ) * ((0.95 * (n - 1)) - floor(0.95 * (n - 1))) AS p95
    FROM (
        SELECT
            h.*,
            sum(jobs) OVER (PARTITION BY key ORDER BY bucket) AS reached,
            sum(jobs) OVER (PARTITION BY key) AS n
        FROM (
            SELECT NULL::int AS key, bucket, sum(m.jobs) AS jobs
            FROM bucket m
            WHERE key IS NULL
            GROUP BY bucket
            UNION ALL
            SELECT key, bucket, sum(m.jobs) AS jobs
            FROM bucket m
            WHERE key IS NOT NULL AND key IN (SELECT key FROM figures)
            GROUP BY key, bucket
        ) AS h
    ) AS h
    GROUP BY key, n
),
errors AS (
    SELECT
        key,
        json_agg(
            json_build_object('pattern', pattern, 'count', failures, 'job_id', job_id) ORDER BY
                place
        ) FILTER (WHERE place <= 10 AND NOT is_rest) AS list,
        sum(failures) FILTER (WHERE place > 10 OR is_rest)::bigint AS others
    FROM (
        SELECT
            f.*,
            row_number() OVER (PARTITION BY key, is_rest ORDER BY failures DESC, pattern) AS place
        FROM (
            SELECT f.*, pattern = '' AS is_rest
            FROM (
                SELECT
                    NULL::int AS key,
                    pattern,
                    sum(m.failures) AS failures,
                    max(m.job_id::text) AS job_id
                FROM failure m
                WHERE key IS NULL
                GROUP BY pattern
                UNION ALL
                SELECT key, pattern, sum(m.failures) AS failures, max(m.job_id::text) AS job_id
                FROM failure m
                WHERE key IS NOT NULL AND key IN (SELECT key FROM figures)
                GROUP BY key, pattern
            ) AS f
        ) AS f
    ) AS f
    GROUP BY key
)
SELECT f.key, row_to_json(f), q.p50, q.p95, e.list, coalesce(e.others, 0)
FROM figures f
LEFT JOIN quantiles q ON q.key IS NOT DISTINCT FROM f.key
LEFT JOIN errors e ON e.key IS NOT DISTINCT FROM f.key
ORDER BY f.key IS NOT NULL, f.key DESC
