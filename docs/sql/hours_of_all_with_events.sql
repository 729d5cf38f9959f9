-- hours_of_all_with_events
--
-- The time since which totals of quarter hours are kept, and the newest `most` hours or days of UTC
-- in the window that have events or may get some before the figures are read.
--
-- Parameters: customer, domain, job_type, tenant, start, end, most

SELECT
    (SELECT m.at FROM statistics_marks m WHERE m.name = 'quarters'),
    ARRAY(
        SELECT date_bin('1 hour', f.at, timestamptz 'epoch')
        FROM (
            (
                SELECT DISTINCT t.start AS at
                FROM job_totals t
                WHERE t.grain = 3600
                    AND t.domain = ''
                    AND (%(customer)s::text IS NULL OR t.customer = %(customer)s::text)
                    AND (%(domain)s::text IS NULL OR t.domain = %(domain)s::text)
                    AND (%(job_type)s::text IS NULL OR t.job_type = %(job_type)s::text)
                    AND (%(tenant)s::text IS NULL OR t.customer = %(tenant)s::text)
                    AND t.start > %(start)s::timestamptz - interval '1 hour'
                    AND t.start < %(end)s::timestamptz
                ORDER BY t.start DESC
                LIMIT (SELECT %(most)s::int)
            ) UNION ALL SELECT e.at FROM uncounted_events u CROSS JOIN LATERAL (
                SELECT * FROM job_events e WHERE e.job_id = u.job_id AND e.seq = u.seq LIMIT 1
            ) AS e UNION ALL SELECT p.at FROM uncounted_events u CROSS JOIN LATERAL (
                SELECT * FROM job_events e WHERE e.job_id = u.job_id AND e.seq = u.seq LIMIT 1
            ) AS e CROSS JOIN LATERAL (
                SELECT *
                FROM job_events p
                WHERE p.job_id = e.job_id AND p.seq = e.previous_seq
                LIMIT 1
            ) AS p UNION ALL SELECT now() + h * interval '1 hour' FROM generate_series(-24, 24) AS h
        ) AS f
        WHERE f.at > %(start)s::timestamptz - interval '1 hour' AND f.at < %(end)s::timestamptz
        GROUP BY 1
        ORDER BY 1 DESC
        LIMIT (SELECT %(most)s::int)
    )
