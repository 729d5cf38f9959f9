-- All jobs and their first events are stored, and one row per job is returned, in any order. If a
-- document is too large, nothing is stored, and the only row names that job and document.
--
-- p_jobs         the new jobs as an array of objects, by column name
-- p_provenance   the provenance of the events, see append_event_1
-- p_rules        "following", see job_json_1, and "max_document_bytes"

CREATE FUNCTION create_jobs_1(p_jobs jsonb, p_provenance jsonb, p_rules jsonb)
RETURNS TABLE (job_id uuid, large_document text, tag text, job text) LANGUAGE plpgsql AS $$
DECLARE
    format CONSTANT text := 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';
    -- Responses show this precision: a list with created_before set to the created_at of a job that
    -- was read leaves that job out.
    t CONSTANT timestamptz := date_trunc('milliseconds', now());
BEGIN
    RETURN QUERY
    SELECT (new_job ->> 'id')::uuid, name, NULL, NULL
    FROM jsonb_array_elements(p_jobs) AS new_job, unnest(ARRAY['config', 'metadata']) AS name
    WHERE octet_length((new_job -> name)::text) > (p_rules ->> 'max_document_bytes')::int
    LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;

    RETURN QUERY
    WITH new_job AS MATERIALIZED (
        SELECT
            n.*,
            (
                SELECT jsonb_object_agg(name, jsonb_build_object('from', NULL, 'to', value))
                FROM (
                    VALUES
                        ('domain_id', to_jsonb(n.domain_id)),
                        ('domain', to_jsonb(n.domain)),
                        ('job_type', to_jsonb(n.job_type)),
                        ('priority', to_jsonb(n.priority)),
                        ('max_retries', to_jsonb(n.max_retries)),
                        ('customer_config_id', to_jsonb(n.customer_config_id)),
                        (
                            'scheduled_for',
                            to_jsonb(to_char(n.scheduled_for AT TIME ZONE 'UTC', format))
                        )
                    UNION ALL
                    SELECT 'config.' || key, event_value_1(value) FROM jsonb_each(n.config)
                    UNION ALL
                    SELECT 'metadata.' || key, event_value_1(value) FROM jsonb_each(n.metadata)
                ) AS field (name, value)
                WHERE value IS NOT NULL
            ) AS changes
        FROM jsonb_to_recordset(p_jobs) AS n (
            id uuid, domain_id uuid, customer_config_id uuid, domain text, job_type text,
            priority int, max_retries int, max_concurrent int, config jsonb, metadata jsonb,
            scheduled_for timestamptz
        )
    ), event AS MATERIALIZED (
        SELECT
            n.*,
            event_hash_1(
                n.id, 1, t, NULL, 'pending', n.changes, '{}', NULL, 0, NULL, NULL, '', p_provenance
            ) AS hash
        FROM new_job n
    ), appended AS (
        INSERT INTO job_events (
            job_id, seq, at, new_status, changes, stats, retry_count, action, actor_type, actor_id,
            actor_name, request_id, address, hash
        )
        SELECT
            n.id, 1, t, 'pending', n.changes, '{}', 0, p_provenance ->> 'action',
            p_provenance ->> 'actor_type', p_provenance ->> 'actor_id',
            p_provenance ->> 'actor_name', p_provenance ->> 'request_id',
            p_provenance ->> 'address', n.hash
        FROM event n
    ), stored AS (
        INSERT INTO scrape_jobs AS j (
            id, domain_id, customer_config_id, domain, job_type, priority, max_retries,
            max_concurrent, config, metadata, scheduled_for, created_at, updated_at, chain
        )
        SELECT
            n.id, n.domain_id, n.customer_config_id, n.domain, n.job_type, n.priority,
            n.max_retries, n.max_concurrent, n.config, n.metadata, n.scheduled_for, t, t,
            n.hash
        FROM event n
        RETURNING j.*
    ), for_statistics AS (
        INSERT INTO uncounted_events (job_id, seq) SELECT stored.id, stored.version FROM stored
    )
    SELECT stored.id, NULL, job_tag_1(stored), job_json_1(stored, p_rules -> 'following')
    FROM stored;
END
$$;
