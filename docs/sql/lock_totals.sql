-- lock_totals
--
-- Parameters: none

SELECT pg_try_advisory_xact_lock(hashtextextended('statistics', 0))
