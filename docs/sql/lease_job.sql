-- lease_job
--
-- The job as JSON text, if it runs from now on, leased to this worker; otherwise null. See
-- lease_job_1.
--
-- Parameters: id, max_concurrent, lease_token, worker_id, lease_seconds, allowed_transitions,
-- provenance

SELECT lease_job_1(
    %(id)s::uuid, %(max_concurrent)s::int, %(lease_token)s::text, %(worker_id)s::text,
    %(lease_seconds)s::int, %(allowed_transitions)s::json, %(provenance)s::jsonb
)
