-- endpoints_with_deliveries
--
-- The ids of all endpoints with deliveries, whether each exists, and whether it is active. One
-- index lookup finds each endpoint: the number of deliveries does not matter.
--
-- Parameters: none

WITH RECURSIVE endpoint AS (
    (SELECT d.endpoint_id AS id FROM webhook_deliveries d ORDER BY d.endpoint_id LIMIT 1) UNION ALL
        SELECT n.endpoint_id FROM endpoint e CROSS JOIN LATERAL (
        SELECT d.endpoint_id
        FROM webhook_deliveries d
        WHERE d.endpoint_id > e.id
        ORDER BY d.endpoint_id
        LIMIT 1
    ) AS n
)
SELECT e.id, w.id IS NOT NULL, coalesce(w.active, false)
FROM endpoint e
LEFT JOIN webhook_endpoints w ON w.id = e.id
