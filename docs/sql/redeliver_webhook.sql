-- redeliver_webhook
--
-- The delivery is due now and keeps its recorded attempts. If an attempt is in progress, the
-- delivery stays claimed.
--
-- Parameters: id, endpoint_id

UPDATE webhook_deliveries d
SET
    status = 'pending',
    failures = 0,
    finished_at = NULL,
    next_try_at = CASE WHEN d.claim IS NULL THEN now() ELSE d.next_try_at END
WHERE d.id = %(id)s::uuid AND d.endpoint_id = %(endpoint_id)s::uuid
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
