-- lock_customers_webhooks
--
-- Until this transaction ends, no other one creates endpoints of the customer.
--
-- Parameters: tenant

SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || %(tenant)s::text, 0)) IS NULL
