-- forget_expired_keys
--
-- At most 10 expired keys are deleted. Each new key deletes more than one, so that the table holds
-- the keys of about 24 hours.
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
