-- lock_customers_webhooks
--
-- Parameters: tenant

SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || %(tenant)s::text, 0)) IS NULL
