-- Database roles with fewer rights than the owner of the tables. An attacker who takes over the
-- service can then neither change the history, nor create API keys, nor delete permanent data.
--
-- Run this as the owner, with DATABASE_URL of the owner, after each migration. It is idempotent.
--
--     make migrate
--     psql "$DATABASE_URL" --file deploy/roles.sql
--
-- Then create the logins:
--
--     psql "$DATABASE_URL" --command \
--         "CREATE ROLE scrape_jobs LOGIN PASSWORD '…' IN ROLE scrape_jobs_service"
--     psql "$DATABASE_URL" --command \
--         "CREATE ROLE scrape_jobs_pruner LOGIN PASSWORD '…' IN ROLE scrape_jobs_retention"
--
-- scrape_jobs_service    for the workers, flask webhooks dispatch, flask housekeeping,
--                        flask queue sweep, flask statistics count and flask audit verify
-- scrape_jobs_retention  for flask jobs prune
-- the owner              migrates (SCRAPE_JOBS_MIGRATE stays off), and creates, rotates and revokes
--                        API keys
--
-- Both roles are groups without a login. The login roles have the passwords and limits; a new login
-- needs one GRANT. The groups belong to all databases of the server. Creating them requires
-- CREATEROLE; if the owner lacks it, an administrator must create both groups first. The script
-- revokes all rights that were granted on these tables before.

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
                NULL; -- created at the same time, for another database of the server
            END;
        END IF;
    END LOOP;
END
$$;

REVOKE ALL ON
    alembic_version, api_keys, idempotency_keys, job_duration_totals, job_error_totals, job_events,
    job_totals, outbox, scrape_jobs, service_pulse, statistics_marks, uncounted_events,
    webhook_deliveries, webhook_endpoints
FROM PUBLIC, scrape_jobs_service, scrape_jobs_retention;
REVOKE ALL ON FUNCTION
    running_jobs, append_event_1, change_job_1, changed_fields_1, claim_jobs_1, create_jobs_1,
    differing_fields_1, event_hash_1, event_value_1, is_shown_time_1, job_json_1, job_tag_1,
    lease_job_1
FROM PUBLIC, scrape_jobs_service, scrape_jobs_retention;
REVOKE CREATE ON SCHEMA public -- the default since PostgreSQL 15
FROM PUBLIC, scrape_jobs_service, scrape_jobs_retention;

-- A temporary table hides a table of the service with the same name, for all clients that share its
-- connection.
DO $$
BEGIN
    EXECUTE format(
        'REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, scrape_jobs_service, scrape_jobs_retention',
        current_database()
    );
END
$$;

GRANT USAGE ON SCHEMA public TO scrape_jobs_service, scrape_jobs_retention;

-- -------------------------------------------------------------------------------------- service

-- The service appends events and reads them. It cannot change or delete them.
GRANT SELECT, INSERT ON job_events TO scrape_jobs_service;

-- The service reads API keys and records their last use. It cannot change their scopes or validity.
GRANT SELECT, UPDATE (last_used_at) ON api_keys TO scrape_jobs_service;

-- The service creates and changes jobs. Only the retention command deletes them and their events.
GRANT SELECT, INSERT, UPDATE ON scrape_jobs TO scrape_jobs_service;
GRANT EXECUTE ON FUNCTION
    running_jobs, append_event_1, change_job_1, changed_fields_1, claim_jobs_1, create_jobs_1,
    differing_fields_1, event_hash_1, event_value_1, is_shown_time_1, job_json_1, job_tag_1,
    lease_job_1
TO scrape_jobs_service;

-- Rows of pending work, which are deleted when it is done. The fan-out locks the rows of the outbox
-- and records its progress in them.
GRANT SELECT, INSERT, DELETE, UPDATE (served_to) ON outbox TO scrape_jobs_service;
GRANT SELECT, INSERT, DELETE ON uncounted_events TO scrape_jobs_service;

-- Totals only grow. The exception are error texts: only the most frequent ones stay, and the others
-- are merged.
GRANT SELECT, INSERT, UPDATE ON job_totals, job_duration_totals, job_error_totals TO scrape_jobs_service;
GRANT DELETE ON job_error_totals TO scrape_jobs_service;
GRANT SELECT ON statistics_marks TO scrape_jobs_service;

-- Users create and delete endpoints, with their deliveries. Responses to idempotent requests are
-- stored for a day.
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoints, webhook_deliveries, idempotency_keys
TO scrape_jobs_service;

-- The service records its pulse, and finds outages in it.
GRANT SELECT, INSERT, UPDATE (seen_at, outages) ON service_pulse TO scrape_jobs_service;

-- /readyz compares the schema with the release.
GRANT SELECT ON alembic_version TO scrape_jobs_service;

-- ------------------------------------------------------------------------------------ retention

-- The retention command reads only the columns that it needs to find old rows.
GRANT DELETE, SELECT (id, status, updated_at, version) ON scrape_jobs TO scrape_jobs_retention;
GRANT DELETE, SELECT (job_id, at) ON job_events TO scrape_jobs_retention;
GRANT DELETE, SELECT (job_id, seq, endpoint_id, status, created_at, id) ON webhook_deliveries
TO scrape_jobs_retention;
GRANT DELETE, SELECT (caller, key, created_at) ON idempotency_keys TO scrape_jobs_retention;
GRANT SELECT (job_id) ON outbox, uncounted_events TO scrape_jobs_retention;
-- The row security of deliveries reads the endpoints, too.
GRANT SELECT (id, active) ON webhook_endpoints TO scrape_jobs_retention;

COMMIT;
