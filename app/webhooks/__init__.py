"""The webhooks: endpoints, the deliveries owed to them, and the dispatcher that pays."""
