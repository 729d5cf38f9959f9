-- The entity tag of a job: its version and, during a lease, the lease's end in milliseconds.
--
-- A heartbeat extends the lease without a new version, so the version alone does not distinguish
-- all states of a job.

CREATE FUNCTION job_tag_1(p_job scrape_jobs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(
        '-', p_job.version, floor(extract(epoch FROM p_job.lease_expires_at) * 1000)::bigint
    )
$$;
