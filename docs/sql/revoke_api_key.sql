-- revoke_api_key
--
-- Makes the key invalid after `seconds`, never later than an earlier revocation does. Returns no
-- row if the key does not exist or is revoked already.
--
-- Parameters: seconds, id

UPDATE api_keys k
SET revoked_at = least(k.revoked_at, now() + make_interval(secs => %(seconds)s::float8))
WHERE k.id = %(id)s::text AND coalesce(k.revoked_at > now(), true)
RETURNING
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
