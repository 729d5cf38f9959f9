-- keep_webhook_endpoints_of_settings
--
-- Exactly the endpoints of the settings are active or were disabled for another reason. An endpoint
-- that left the settings is inactive with WITHDRAWN_REASON and becomes active when it returns.
-- Those in `changed` have a new secret; rows without a difference are not written.
--
-- Parameters: ids, urls, secrets, changed, hours

WITH wanted AS (
    SELECT *
    FROM unnest(%(ids)s::uuid[], %(urls)s::text[], %(secrets)s::text[]) AS u (id, url, secret)
),
withdrawn AS (
    UPDATE webhook_endpoints w
    SET active = false, disabled_reason = 'No longer in the settings', updated_at = now()
    WHERE w.from_settings AND w.active AND w.id NOT IN (SELECT id FROM wanted)
    RETURNING w.id
)
INSERT INTO webhook_endpoints AS w (id, url, active, secret, from_settings, created_at, updated_at)
SELECT id, url, true, secret, true, now(), now()
FROM wanted
ON CONFLICT (id) DO UPDATE
SET
    active = w.active OR w.disabled_reason IS NOT DISTINCT FROM 'No longer in the settings',
    disabled_reason = nullif(w.disabled_reason, 'No longer in the settings'),
    secret = CASE WHEN w.id = ANY(%(changed)s::uuid[]) THEN excluded.secret ELSE w.secret END,
    previous_secret = CASE
        WHEN w.id = ANY(%(changed)s::uuid[]) THEN w.secret ELSE w.previous_secret
    END,
    previous_secret_until = CASE
        WHEN w.id = ANY(%(changed)s::uuid[]) THEN now() + make_interval(hours => %(hours)s::int)
        ELSE w.previous_secret_until
    END,
    updated_at = now()
WHERE w.disabled_reason = 'No longer in the settings' OR w.id = ANY(%(changed)s::uuid[])
RETURNING w.id
