"""Webhooks: endpoints, their deliveries, and the dispatcher that sends these."""
