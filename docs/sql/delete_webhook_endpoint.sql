-- delete_webhook_endpoint
--
-- The endpoint is deleted, after the commit of every fan-out that has read it.
--
-- Parameters: id, tenant

DELETE FROM webhook_endpoints w
WHERE w.id = %(id)s::uuid AND (%(tenant)s::uuid IS NULL OR w.customer_config_id = %(tenant)s::uuid)
RETURNING w.id
