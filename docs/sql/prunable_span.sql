-- prunable_span
--
-- The time before which the last change of an old job was, and the oldest last change before that
-- time, or null.
--
-- Parameters: seconds

SELECT c.cutoff, (SELECT min(j.updated_at) FROM scrape_jobs j WHERE j.updated_at < c.cutoff)
FROM (SELECT now() - make_interval(secs => %(seconds)s::float8) AS cutoff) AS c
