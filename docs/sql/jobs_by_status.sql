-- jobs_by_status
--
-- The number of jobs in each status, by the totals and the changes not counted yet.
--
-- Parameters: none

SELECT s.status, sum(s.jobs)::bigint
FROM (
    SELECT v.status, v.jobs
    FROM job_totals t
    CROSS JOIN LATERAL (
        VALUES
            ('pending', t.pending),
            ('running', t.running),
            ('completed', t.completed),
            ('failed', t.failed),
            ('cancelled', t.cancelled)
    ) AS v (status, jobs)
    WHERE t.grain = 0 AND t.domain = ''
    UNION ALL
    SELECT e.new_status, 1
    FROM uncounted_events u
    JOIN job_events e USING (job_id, seq)
    UNION ALL
    SELECT e.old_status, -1
    FROM uncounted_events u
    JOIN job_events e USING (job_id, seq)
    WHERE e.previous_seq IS NOT NULL
) AS s
GROUP BY s.status
