-- read_idempotency_key
--
-- Parameters: caller, key

SELECT encode(fingerprint, 'hex'), status, headers, body
FROM idempotency_keys
WHERE caller = %(caller)s::text AND key = %(key)s::text
