-- remember_answer
--
-- The response is stored with the key that this transaction claimed.
--
-- Parameters: status, headers, body, caller, key

UPDATE idempotency_keys
SET status = %(status)s::int, headers = %(headers)s::jsonb, body = %(body)s::text
WHERE caller = %(caller)s::text AND key = %(key)s::text
RETURNING true
