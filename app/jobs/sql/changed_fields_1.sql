-- The changed fields of a job for its event, without its documents, such as
-- {"priority": {"from": 5, "to": 9}}.

CREATE FUNCTION changed_fields_1(p_old scrape_jobs, p_new scrape_jobs)
RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    format CONSTANT text := 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';
BEGIN
    RETURN (
        SELECT coalesce(
            jsonb_object_agg(field, jsonb_build_object('from', was, 'to', becomes)), '{}'
        )
        FROM (
            VALUES
                (
                    'error_message',
                    to_jsonb(p_old.error_message),
                    to_jsonb(p_new.error_message)
                ),
                ('retry_count', to_jsonb(p_old.retry_count), to_jsonb(p_new.retry_count)),
                ('priority', to_jsonb(p_old.priority), to_jsonb(p_new.priority)),
                ('max_retries', to_jsonb(p_old.max_retries), to_jsonb(p_new.max_retries)),
                ('worker_id', to_jsonb(p_old.worker_id), to_jsonb(p_new.worker_id)),
                (
                    'started_at',
                    to_jsonb(to_char(p_old.started_at AT TIME ZONE 'UTC', format)),
                    to_jsonb(to_char(p_new.started_at AT TIME ZONE 'UTC', format))
                ),
                (
                    'completed_at',
                    to_jsonb(to_char(p_old.completed_at AT TIME ZONE 'UTC', format)),
                    to_jsonb(to_char(p_new.completed_at AT TIME ZONE 'UTC', format))
                ),
                (
                    'scheduled_for',
                    to_jsonb(to_char(p_old.scheduled_for AT TIME ZONE 'UTC', format)),
                    to_jsonb(to_char(p_new.scheduled_for AT TIME ZONE 'UTC', format))
                )
        ) AS fields (field, was, becomes)
        WHERE was IS DISTINCT FROM becomes
    );
END
$$;
