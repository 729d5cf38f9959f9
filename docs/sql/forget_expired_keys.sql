-- forget_expired_keys
--
-- Parameters: none

DELETE FROM idempotency_keys
WHERE (caller, key) IN (
    SELECT caller, key
    FROM idempotency_keys
    WHERE created_at < now() - interval '24 hours'
    ORDER BY created_at
    LIMIT 10
    FOR UPDATE SKIP LOCKED
)
RETURNING true
