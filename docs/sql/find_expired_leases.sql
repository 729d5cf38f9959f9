-- find_expired_leases
--
-- At most `limit` running jobs whose lease has expired, the longest expired first. Jobs whose lease
-- expired during an outage are left out while their worker still has time to send a heartbeat. It
-- locks nothing: the rescue checks each job again.
--
-- Parameters: limit

WITH outage AS MATERIALIZED (
    SELECT lower(o.outage) AS began, upper(o.outage) AS ended
    FROM
        service_pulse p,
        unnest(
            p.outages + CASE
                WHEN now() - p.seen_at BETWEEN interval '3 seconds' AND interval '1 day'
                    THEN tstzmultirange(tstzrange(p.seen_at, now()))
                ELSE '{}'
            END
        ) AS o (outage)
)
SELECT j.id, j.worker_id, j.retry_count
FROM scrape_jobs j
WHERE (j.status = 'running') IS TRUE
    AND j.lease_expires_at < now()
    AND NOT EXISTS (
        SELECT
        FROM outage o
        WHERE j.lease_expires_at > o.began
            AND j.lease_expires_at <= o.ended + interval '1 second'
            AND now() < o.ended + make_interval(secs => j.lease_seconds)
    )
ORDER BY j.lease_expires_at
LIMIT %(limit)s::int
