-- create_webhook_endpoint
--
-- The new endpoint with its secret, which only this answer and that of a rotation show; or no row
-- if the customer has `limit` endpoints already. Endpoints without a customer, which only operators
-- create, are not limited.
--
-- Parameters: id, sealed, tenant, fields, limit, shown

INSERT INTO webhook_endpoints AS w (
    id, url, statuses, job_types, domains, description, active, headers, header_names, secret,
    customer_config_id, created_at, updated_at
)
SELECT
    %(id)s::uuid,
    f.url,
    f.statuses,
    f.job_types,
    f.domains,
    f.description,
    f.active,
    f.headers,
    f.header_names,
    %(sealed)s::text,
    %(tenant)s::uuid,
    now(),
    now()
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
WHERE (SELECT count(*) FROM webhook_endpoints o WHERE o.customer_config_id = %(tenant)s::uuid) <
    %(limit)s::int
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
