-- lease_job
--
-- The job as JSON text, if it runs from now on, leased to this worker; otherwise null. See
-- lease_job_1.
--
-- Parameters: id, max_concurrent, lease_token, worker_id, lease_seconds, following, provenance

SELECT lease_job_1(
    %(id)s::uuid, %(max_concurrent)s::int, %(lease_token)s::text, %(worker_id)s::text,
    %(lease_seconds)s::int, %(following)s::jsonb, %(provenance)s::jsonb
)
