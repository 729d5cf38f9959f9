-- lock_domain
--
-- Parameters: domain

SELECT pg_try_advisory_xact_lock(hashtextextended('queue ' || %(domain)s::text, 0))
