-- history
--
-- At most `limit` events of one job after number `after`, oldest first, by the primary key. Fewer
-- if they exceed the size of a page: then each row has the number of all that were found.
--
-- Parameters: job_id, after, tenant, limit

SELECT *
FROM (
    SELECT
        r.*,
        count(*) OVER () AS found,
        sum(octet_length(r.json)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - octet_length(
            r.json
        ) AS bytes
    FROM (
        SELECT
            e.seq,
            (
                SELECT row_to_json(r)::text
                FROM (
                    SELECT
                        e.seq AS id,
                        to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at,
                        (
                            SELECT row_to_json(a)
                            FROM (
                                SELECT e.actor_type AS type, e.actor_id AS id, e.actor_name AS name
                            ) AS a
                        ) AS actor,
                        e.request_id,
                        e.action,
                        e.old_status,
                        e.new_status,
                        e.changes
                ) AS r
            ) AS json
        FROM job_events e
        WHERE e.job_id = %(job_id)s::uuid
            AND e.seq > %(after)s::bigint
            AND EXISTS (
                SELECT
                FROM scrape_jobs j
                WHERE j.id = e.job_id
                    AND (%(tenant)s::uuid IS NULL OR j.customer_config_id = %(tenant)s::uuid)
            )
        ORDER BY e.seq
        LIMIT %(limit)s::int
    ) AS r
) AS p
WHERE p.bytes < 2097152
ORDER BY seq
