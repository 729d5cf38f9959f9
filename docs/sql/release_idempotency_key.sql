-- release_idempotency_key
--
-- A claim that has no response is deleted: the key is unused again.
--
-- Parameters: caller, key

DELETE FROM idempotency_keys
WHERE caller = %(caller)s::text AND key = %(key)s::text AND status IS NULL
RETURNING true
