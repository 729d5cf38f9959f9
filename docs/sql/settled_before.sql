-- settled_before
--
-- The start of the oldest transaction that may still commit a change, or now if there is none.
-- PostgreSQL hides the start of other roles' transactions: a hidden transaction that writes, or
-- that belongs to the service, counts as started MAX_CHANGE_SECONDS ago.
--
-- Parameters: none

SELECT date_trunc(
    'milliseconds',
    greatest(
        now() - interval '300 seconds',
        least(now(), min(CASE WHEN a.state IS NULL THEN '-infinity' ELSE a.xact_start END))
    )
)
FROM pg_stat_activity a
WHERE a.datname = current_database()
    AND coalesce(a.backend_type, 'client backend') = 'client backend'
    AND a.pid <> pg_backend_pid()
    AND (
        a.xact_start IS NOT NULL
        OR a.state IS NULL
            AND (
                a.backend_xid IS NOT NULL
                OR a.application_name = current_setting('application_name')
            )
    )
