-- verify_events
--
-- Parameters: after, after_seq, at_first, limit

WITH batch AS MATERIALIZED (
    SELECT e.*
    FROM job_events e
    WHERE (e.job_id, e.seq) >= (%(after)s::uuid, %(after_seq)s::bigint)
        AND (%(at_first)s::bool OR (e.job_id, e.seq) <> (%(after)s::uuid, %(after_seq)s::bigint))
    ORDER BY e.job_id, e.seq
    LIMIT %(limit)s::int
),
last AS (SELECT b.job_id, b.seq FROM batch b ORDER BY b.job_id DESC, b.seq DESC LIMIT 1),
followed AS MATERIALIZED (
    SELECT
        b.*,
        coalesce(lag(b.seq) OVER w, p.seq, 0) AS previous_number,
        coalesce(lag(b.hash) OVER w, p.hash, ''::bytea) AS previous
    FROM batch b
    LEFT JOIN job_events p
    -- of what was looked at before, the last one alone can be followed here
    ON p.job_id = %(after)s::uuid
        AND p.seq = %(after_seq)s::bigint
        AND p.job_id = b.job_id
    WINDOW w AS (PARTITION BY b.job_id ORDER BY b.seq)
),
judged AS (
    SELECT
        f.job_id,
        f.seq,
        CASE
            WHEN j.id IS NULL THEN 'without a job'
            WHEN f.seq > j.version OR f.seq <= f.previous_number THEN 'added'
            WHEN f.seq > f.previous_number + 1 THEN 'missing before'
            WHEN f.hash <> sha256(
                f.previous || convert_to(
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
            )
                THEN 'changed'
            WHEN f.seq = 1 AND f.old_status IS NOT NULL THEN 'missing before'
            WHEN f.seq = j.version
                AND NOT EXISTS (
                    SELECT FROM job_events n WHERE n.job_id = f.job_id AND n.seq > f.seq
                )
                THEN CASE
                    WHEN f.hash <> j.chain THEN 'changed'
                    WHEN (f.new_status, f.at) <> (j.status, j.updated_at) THEN 'missing after'
                END
        END AS fault
    FROM followed f
    LEFT JOIN LATERAL (
        SELECT o.id, o.version, o.chain, o.status, o.updated_at
        FROM scrape_jobs o
        WHERE o.id = f.job_id
        LIMIT 1
    ) AS j ON true
),
wrong AS (SELECT DISTINCT ON (job_id) * FROM judged WHERE fault IS NOT NULL ORDER BY job_id, seq)
SELECT
    (SELECT count(*) FROM batch),
    (SELECT count(*) FROM batch b WHERE b.seq = 1),
    (SELECT job_id FROM last),
    (SELECT seq FROM last),
    w.job_id,
    w.seq,
    w.fault
FROM wrong w RIGHT
JOIN (VALUES (1)) AS always (one) ON true
ORDER BY w.job_id
