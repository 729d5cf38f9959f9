-- verify_events
--
-- Of the next `limit` events by key: how many there were, how many jobs began with them, the key of
-- the last one, and the first fault of each job. The events of a job must be numbered from 1
-- without gaps, the first one must be a creation, each hash must cover the previous event, and the
-- job must be as its last event says. Each job is looked up by its key: a plain join would be
-- planned for any limit, and so read all jobs in every batch.
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
linked AS MATERIALIZED (
    SELECT
        b.*,
        coalesce(lag(b.seq) OVER w, p.seq, 0) AS previous_seq_number,
        coalesce(lag(b.hash) OVER w, p.hash, ''::bytea) AS previous_hash
    -- The last event of the batch before may belong to the first job of this batch.
    FROM batch b
    LEFT JOIN job_events p ON p.job_id = %(after)s::uuid
        AND p.seq = %(after_seq)s::bigint
        AND p.job_id = b.job_id
    WINDOW w AS (PARTITION BY b.job_id ORDER BY b.seq)
),
checked AS (
    SELECT
        l.job_id,
        l.seq,
        CASE
            WHEN j.id IS NULL THEN 'without a job'
            WHEN l.seq > j.version OR l.seq <= l.previous_seq_number THEN 'added'
            WHEN l.seq > l.previous_seq_number + 1 THEN 'missing before'
            WHEN l.hash <> sha256(
                l.previous_hash || convert_to(
                    jsonb_build_array(
                        l.job_id,
                        l.seq,
                        encode(timestamptz_send(l.at), 'hex'),
                        l.old_status,
                        l.new_status,
                        l.changes,
                        l.stats::text,
                        l.previous_seq,
                        l.retry_count,
                        encode(float8send(l.seconds), 'hex'),
                        l.error_message,
                        l.action,
                        l.actor_type,
                        l.actor_id,
                        l.actor_name,
                        l.request_id,
                        l.address
                    )::text,
                    'UTF8'
                )
            )
                THEN 'changed'
            WHEN l.seq = 1 AND l.old_status IS NOT NULL THEN 'missing before'
            WHEN l.seq = j.version
                AND NOT EXISTS (
                    SELECT FROM job_events n WHERE n.job_id = l.job_id AND n.seq > l.seq
                )
                THEN CASE
                    WHEN l.hash <> j.chain THEN 'changed'
                    WHEN (l.new_status, l.at) <> (j.status, j.updated_at) THEN 'missing after'
                END
        END AS fault
    FROM linked l
    LEFT JOIN LATERAL (
        SELECT o.id, o.version, o.chain, o.status, o.updated_at
        FROM scrape_jobs o
        WHERE o.id = l.job_id
        LIMIT 1
    ) AS j ON true
),
first_faults AS (
    SELECT DISTINCT ON (job_id) * FROM checked WHERE fault IS NOT NULL ORDER BY job_id, seq
)
SELECT
    (SELECT count(*) FROM batch),
    (SELECT count(*) FROM batch b WHERE b.seq = 1),
    (SELECT job_id FROM last),
    (SELECT seq FROM last),
    f.job_id,
    f.seq,
    f.fault
FROM first_faults f RIGHT
JOIN (VALUES (1)) AS always (one) ON true
ORDER BY f.job_id
