-- list_job_deliveries
--
-- The deliveries of one job to endpoints that the caller sees, newest event first, at most
-- MAX_OF_JOB, by the primary key. Fewer if they do not fit a page.
--
-- Parameters: job_id, tenant

SELECT *
FROM (
    SELECT
        r.*,
        count(*) OVER () AS found,
        sum(octet_length(r.json)) OVER (ORDER BY seq DESC, id ROWS UNBOUNDED PRECEDING) -
            octet_length(r.json) AS bytes
    FROM (
        SELECT
            d.seq,
            d.id,
            (
                SELECT row_to_json(r)::text
                FROM (
                    SELECT
                        d.id,
                        d.endpoint_id AS webhook_id,
                        d.job_id,
                        d.seq AS event_id,
                        d.status,
                        d.body::json AS body,
                        d.tries,
                        CASE
                            WHEN d.status = 'pending'
                                THEN to_char(
                                    d.next_try_at AT TIME ZONE 'UTC',
                                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                                )
                        END AS next_try_at,
                        to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                            AS created_at,
                        to_char(d.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                            AS finished_at
                ) AS r
            ) AS json
        FROM webhook_deliveries d
        WHERE d.job_id = %(job_id)s::uuid
            AND EXISTS (
                SELECT
                FROM scrape_jobs j
                WHERE j.id = d.job_id
                    AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
            )
            AND EXISTS (
                SELECT
                FROM webhook_endpoints w
                WHERE w.id = d.endpoint_id
                    AND (%(tenant)s::uuid IS NULL OR w.customer_config_id = %(tenant)s::uuid)
            )
        ORDER BY d.seq DESC, d.id
        LIMIT 200
    ) AS r
) AS p
WHERE p.bytes < 2097152
ORDER BY seq DESC, id
