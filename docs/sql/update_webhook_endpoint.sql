-- update_webhook_endpoint
--
-- The columns in `fields` are changed, all others stay. An endpoint that is set active loses its
-- disabled_reason and failing_since.
--
-- Parameters: fields, id, tenant

UPDATE webhook_endpoints w
SET
    url = CASE WHEN %(fields)s::jsonb ? 'url' THEN f.url ELSE w.url END,
    statuses = CASE WHEN %(fields)s::jsonb ? 'statuses' THEN f.statuses ELSE w.statuses END,
    job_types = CASE WHEN %(fields)s::jsonb ? 'job_types' THEN f.job_types ELSE w.job_types END,
    domains = CASE WHEN %(fields)s::jsonb ? 'domains' THEN f.domains ELSE w.domains END,
    description = CASE
        WHEN %(fields)s::jsonb ? 'description' THEN f.description ELSE w.description
    END,
    active = CASE WHEN %(fields)s::jsonb ? 'active' THEN f.active ELSE w.active END,
    headers = CASE WHEN %(fields)s::jsonb ? 'headers' THEN f.headers ELSE w.headers END,
    header_names = CASE
        WHEN %(fields)s::jsonb ? 'header_names' THEN f.header_names ELSE w.header_names
    END,
    disabled_reason = CASE WHEN f.active THEN NULL ELSE w.disabled_reason END,
    failing_since = CASE WHEN f.active THEN NULL ELSE w.failing_since END,
    updated_at = now()
FROM jsonb_to_record(%(fields)s::jsonb) AS f (
    url text,
    statuses text[],
    job_types text[],
    domains text[],
    description text,
    active bool,
    headers text,
    header_names text[]
)
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
            to_char(w.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at
    ) AS r
)
