-- remember_answer
--
-- Parameters: status, headers, body, caller, key

UPDATE idempotency_keys
SET status = %(status)s::int, headers = %(headers)s::jsonb, body = %(body)s::text
WHERE caller = %(caller)s::text AND key = %(key)s::text
RETURNING true
