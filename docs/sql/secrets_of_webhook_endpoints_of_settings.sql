-- secrets_of_webhook_endpoints_of_settings
--
-- Parameters: none

SELECT w.id, w.secret FROM webhook_endpoints w WHERE w.from_settings
