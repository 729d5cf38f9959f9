-- secrets_of_webhook_endpoints_of_settings
--
-- The id and the sealed secret of each endpoint that the settings created.
--
-- Parameters: none

SELECT w.id, w.secret FROM webhook_endpoints w WHERE w.from_settings
