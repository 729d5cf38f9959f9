-- remove_expired_keys
--
-- At most `limit` expired keys are deleted. The row has their number.
--
-- Parameters: limit

WITH deleted AS (
    DELETE FROM idempotency_keys
    WHERE (caller, key) IN (
        SELECT caller, key
        FROM idempotency_keys
        WHERE created_at < now() - interval '24 hours'
        ORDER BY created_at
        LIMIT %(limit)s::int
    )
    RETURNING 1
)
SELECT count(*)
FROM deleted
