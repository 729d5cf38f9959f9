-- Who may do what in the database: less than the owner of the tables, so that nobody who gets hold of the service can
-- alter what has happened, make keys, or remove anything that is to stay.
--
--     make migrate                                         # DATABASE_URL of the owner
--     psql "$DATABASE_URL" --file deploy/roles.sql         # likewise; after every migration, and as often as one likes
--     psql "$DATABASE_URL" --command "CREATE ROLE scrape_jobs LOGIN PASSWORD '…' IN ROLE scrape_jobs_service"
--     psql "$DATABASE_URL" --command "CREATE ROLE scrape_jobs_pruner LOGIN PASSWORD '…' IN ROLE scrape_jobs_retention"
--
-- scrape_jobs_service    what the workers, flask webhooks dispatch, flask housekeeping, flask queue sweep,
--                        flask statistics count and flask audit verify need
-- scrape_jobs_retention  what flask jobs prune needs
-- the owner              migrates (so SCRAPE_JOBS_MIGRATE stays off) and makes, rotates and revokes keys
--
-- The two are groups without a login: passwords and limits are the login roles' own, and a new login needs one GRANT.
-- They belong to all databases of a server. Creating them needs CREATEROLE; where the owner has it not, let an
-- administrator create the two first. Whatever they were granted on these tables before is taken back here.

\set ON_ERROR_STOP on

BEGIN;

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['scrape_jobs_service', 'scrape_jobs_retention'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- somebody else has just done so, for another database of the server
            END;
        END IF;
    END LOOP;
END
$$;

REVOKE ALL ON
    alembic_version, api_keys, idempotency_keys, job_duration_totals, job_error_totals, job_events, job_totals, outbox,
    scrape_jobs, service_pulse, statistics_marks, uncounted_events, webhook_deliveries, webhook_endpoints
FROM PUBLIC, scrape_jobs_service, scrape_jobs_retention;
REVOKE ALL ON FUNCTION running_jobs(text) FROM PUBLIC, scrape_jobs_service, scrape_jobs_retention;
REVOKE CREATE ON SCHEMA public -- as it is anyway since PostgreSQL 15
FROM PUBLIC, scrape_jobs_service, scrape_jobs_retention;

-- A temporary table comes before one of ours with the same name, for everybody who is lent its connection.
DO $$
BEGIN
    EXECUTE format(
        'REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, scrape_jobs_service, scrape_jobs_retention', current_database()
    );
END
$$;

GRANT USAGE ON SCHEMA public TO scrape_jobs_service, scrape_jobs_retention;

-- ---------------------------------------------------------------------------------------------------------- service

-- What has happened is added to and read; nothing of it is changed or removed.
GRANT SELECT, INSERT ON job_events TO scrape_jobs_service;

-- A key is read, and when it was last used is noted; what it may do, and whether it is valid, is not the service's.
GRANT SELECT, UPDATE (last_used_at) ON api_keys TO scrape_jobs_service;

-- Jobs come and change. They go with the retention command alone, and their events with them.
GRANT SELECT, INSERT, UPDATE ON scrape_jobs TO scrape_jobs_service;
GRANT EXECUTE ON FUNCTION running_jobs(text) TO scrape_jobs_service;

-- Work that is removed when it is done. What is taken from the outbox is locked, and keeps how far it was served.
GRANT SELECT, INSERT, DELETE, UPDATE (served_to) ON outbox TO scrape_jobs_service;
GRANT SELECT, INSERT, DELETE ON uncounted_events TO scrape_jobs_service;

-- Totals only grow; of the texts of errors only the most frequent are kept, and the others are added up.
GRANT SELECT, INSERT, UPDATE ON job_totals, job_duration_totals, job_error_totals TO scrape_jobs_service;
GRANT DELETE ON job_error_totals TO scrape_jobs_service;
GRANT SELECT ON statistics_marks TO scrape_jobs_service;

-- Endpoints are their users' to make and delete, with what they are owed; answers are kept for a day.
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoints, webhook_deliveries, idempotency_keys TO scrape_jobs_service;

-- The service notes that it lives, and sees when it did not.
GRANT SELECT, INSERT, UPDATE (seen_at, outages) ON service_pulse TO scrape_jobs_service;

-- /readyz compares the schema with the release.
GRANT SELECT ON alembic_version TO scrape_jobs_service;

-- -------------------------------------------------------------------------------------------------------- retention

-- Of jobs that are over, and of what belongs to them, no more is read than tells which these are.
GRANT DELETE, SELECT (id, status, updated_at, version) ON scrape_jobs TO scrape_jobs_retention;
GRANT DELETE, SELECT (job_id, at) ON job_events TO scrape_jobs_retention;
GRANT DELETE, SELECT (job_id, seq, endpoint_id, status, created_at, id) ON webhook_deliveries TO scrape_jobs_retention;
GRANT DELETE, SELECT (caller, key, created_at) ON idempotency_keys TO scrape_jobs_retention;
GRANT SELECT (job_id) ON outbox, uncounted_events TO scrape_jobs_retention;
GRANT SELECT (id, active) ON webhook_endpoints TO scrape_jobs_retention; -- its row security looks there, too

COMMIT;
