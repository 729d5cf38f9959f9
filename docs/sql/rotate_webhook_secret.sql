-- rotate_webhook_secret
--
-- The endpoint with its new secret. Messages are signed with it, and for `hours` with the previous
-- one as well.
--
-- Parameters: hours, sealed, id, tenant, shown

UPDATE webhook_endpoints w
SET
    previous_secret = w.secret,
    previous_secret_until = now() + make_interval(hours => %(hours)s::int),
    secret = %(sealed)s::text,
    updated_at = now()
WHERE w.id = %(id)s::uuid AND (%(tenant)s::uuid IS NULL OR w.customer_config_id = %(tenant)s::uuid)
RETURNING (
    SELECT row_to_json(r)::text
    FROM (
        SELECT
            w.id,
            w.url,
            w.statuses,
            w.job_types,
            w.domains,
            w.description,
            w.header_names,
            w.customer_config_id,
            w.active,
            w.disabled_reason,
            to_char(w.failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                AS failing_since,
            w.from_settings,
            to_char(w.previous_secret_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                AS previous_secret_until,
            to_char(w.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
            to_char(w.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at,
            %(shown)s::text AS secret
    ) AS r
)
