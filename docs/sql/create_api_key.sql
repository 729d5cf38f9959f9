-- create_api_key
--
-- Stores a key that is valid from now on, and returns it.
--
-- Parameters: id, name, digest, scopes, customer, seconds

INSERT INTO api_keys AS k (id, name, digest, scopes, customer_config_id, created_at, expires_at)
VALUES (
    %(id)s::text,
    %(name)s::text,
    decode(%(digest)s::text, 'hex'),
    %(scopes)s::text[],
    %(customer)s::uuid,
    now(),
    now() + make_interval(secs => %(seconds)s::float8)
)
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
