-- read_idempotency_key
--
-- The fingerprint of the key's request, and the stored response.
--
-- Parameters: caller, key

SELECT encode(fingerprint, 'hex'), status, headers, body
FROM idempotency_keys
WHERE caller = %(caller)s::text AND key = %(key)s::text
