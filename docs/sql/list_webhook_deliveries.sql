-- list_webhook_deliveries
--
-- At most `limit` deliveries of one endpoint with one of `statuses`, newest first, that come before
-- (`before_at`, `before_id`). Of each status at most `limit` are read, by the index that has this
-- order. If they do not fit a page there are fewer, and their number beside each.
--
-- Parameters: statuses, endpoint_id, before_at, before_id, limit

SELECT *
FROM (
    SELECT
        r.*,
        count(*) OVER () AS found,
        sum(octet_length(r.json)) OVER (ORDER BY created_at DESC, id DESC ROWS UNBOUNDED PRECEDING)
            - octet_length(r.json) AS bytes
    FROM (
        SELECT
            d.created_at,
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
        FROM (
            SELECT d.*
            FROM unnest(%(statuses)s::text[]) AS s (status)
            CROSS JOIN LATERAL (
                SELECT d.*
                FROM webhook_deliveries d
                WHERE d.endpoint_id = %(endpoint_id)s::uuid
                    AND d.status = s.status
                    AND (d.created_at, d.id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
                ORDER BY d.created_at DESC, d.id DESC
                LIMIT (SELECT %(limit)s::int)
            ) AS d
            ORDER BY d.created_at DESC, d.id DESC
            LIMIT %(limit)s::int
        ) AS d
    ) AS r
) AS p
WHERE p.bytes < 2097152
ORDER BY created_at DESC, id DESC
