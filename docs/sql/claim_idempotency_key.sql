-- claim_idempotency_key
--
-- A row is returned for exactly one of all requests with this key within 24 hours. A second request
-- waits here until the first one's transaction ends. A claim that was committed without a response
-- is valid for ABANDONED_SECONDS.
--
-- Parameters: caller, key, fingerprint

INSERT INTO idempotency_keys AS k (caller, key, fingerprint, created_at)
VALUES (%(caller)s::text, %(key)s::text, decode(%(fingerprint)s::text, 'hex'), now())
ON CONFLICT (caller, key) DO UPDATE
SET
    fingerprint = excluded.fingerprint,
    status = NULL,
    headers = NULL,
    body = NULL,
    created_at = now()
WHERE k.created_at < now() - interval '24 hours'
    OR k.status IS NULL AND k.created_at < now() - interval '60 seconds'
RETURNING true
