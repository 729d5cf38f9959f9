-- list_api_keys
--
-- Returns all keys, oldest first.
--
-- Parameters: none

SELECT
    k.id,
    k.name,
    k.digest,
    k.scopes,
    k.customer_config_id,
    k.created_at,
    k.expires_at,
    k.revoked_at,
    k.last_used_at,
    coalesce(k.revoked_at > now(), true) AND coalesce(k.expires_at > now(), true)
FROM api_keys k
ORDER BY k.created_at, k.id
