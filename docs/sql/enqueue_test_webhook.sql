-- enqueue_test_webhook
--
-- A test message is due to the endpoint; it has the id of a job that does not exist.
--
-- Parameters: job_id, endpoint_id, id, body

INSERT INTO webhook_deliveries AS d (job_id, seq, endpoint_id, id, body, next_try_at, created_at)
VALUES (%(job_id)s::uuid, 1, %(endpoint_id)s::uuid, %(id)s::uuid, %(body)s::text, now(), now())
RETURNING (
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
                    THEN to_char(d.next_try_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
            END AS next_try_at,
            to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
            to_char(d.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                AS finished_at
    ) AS r
)
