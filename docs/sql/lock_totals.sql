-- lock_totals
--
-- Holds the lock on the totals until the transaction ends, or returns false if another process
-- holds it.
--
-- Parameters: none

SELECT pg_try_advisory_xact_lock(hashtextextended('statistics', 0))
