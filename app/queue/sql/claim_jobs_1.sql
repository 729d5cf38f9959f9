-- The first of the candidates that may start run from now on, leased to the worker, one for each
-- token. They start one after another: each counts those before it as running. No two claims
-- return the same job, and no limit is exceeded, whatever other transactions do at the same time.
-- Jobs that others have locked are skipped, and a domain whose limit another claim checks counts
-- as full.
--
-- p_ids             the candidates, in the order of the queue
-- p_domains         the domain of each candidate
-- p_max_concurrent  the limit of its own of each candidate, null for none
-- p_domain_limit    how many jobs of one domain may run at the same time; null for no limit
-- p_following       the statuses that may follow each status, see job_json_1
-- p_provenance      the provenance of the events, see append_event_1

CREATE FUNCTION claim_jobs_1(
    p_ids uuid[],
    p_domains text[],
    p_max_concurrent int[],
    p_domain_limit int,
    p_tokens text[],
    p_worker_id text,
    p_lease_seconds int,
    p_following jsonb,
    p_provenance jsonb,
    OUT id uuid,
    OUT token text,
    OUT job text
) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    claimed int := 0;
    job_limit int;
    domain_with_limit text;
    full_domains text[] := '{}';
BEGIN
    FOR n IN 1 .. coalesce(cardinality(p_ids), 0) LOOP
        EXIT WHEN claimed = cardinality(p_tokens);
        job_limit := least(p_domain_limit, p_max_concurrent[n]);
        IF job_limit IS NOT NULL THEN
            domain_with_limit := job_limit || ' ' || p_domains[n];
            CONTINUE WHEN domain_with_limit = ANY(full_domains);
            -- The lock lasts until the transaction ends. The count has a snapshot of its own, which
            -- includes the jobs that the lock's last holder has started.
            IF NOT pg_try_advisory_xact_lock(hashtextextended('queue ' || p_domains[n], 0))
                OR running_jobs(p_domains[n]) >= job_limit
            THEN
                full_domains := full_domains || domain_with_limit;
                CONTINUE;
            END IF;
        END IF;
        id := p_ids[n];
        token := p_tokens[claimed + 1];
        job := lease_job_1(id, p_max_concurrent[n], token, p_worker_id, p_lease_seconds,
            p_following, p_provenance);
        CONTINUE WHEN job IS NULL;
        claimed := claimed + 1;
        RETURN NEXT;
    END LOOP;
END
$$;
