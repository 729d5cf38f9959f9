-- lock_domain
--
-- True, and no other claim checks the limit of this domain until the transaction ends; or false if
-- another claim checks it now.
--
-- Parameters: domain

SELECT pg_try_advisory_xact_lock(hashtextextended('queue ' || %(domain)s::text, 0))
