-- record_use_of_api_keys
--
-- Sets last_used_at of the keys to now, except where it is less than a minute old.
--
-- Parameters: ids

UPDATE api_keys k
SET last_used_at = now()
WHERE k.id = ANY(%(ids)s::text[])
    AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute')
RETURNING k.id
