-- get_api_key
--
-- Returns the key and whether it is valid now; no row if it does not exist.
--
-- Parameters: id

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
WHERE k.id = %(id)s::text
