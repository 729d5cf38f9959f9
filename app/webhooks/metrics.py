"""The pending webhook deliveries, as metrics for Prometheus."""

from prometheus_client.core import GaugeMetricFamily

from app.webhooks import service


def webhook_metrics() -> list[GaugeMetricFamily]:
    """Return how many deliveries are pending, and for how long. Raises DatabaseFailure."""
    pending = service.count_pending()
    text = "Pending webhook deliveries; an estimate past 100,000"
    age = "How long the oldest status change has waited for the fan-out"
    return [
        GaugeMetricFamily("scrape_jobs_webhooks_owed", text, pending.number),
        GaugeMetricFamily(
            "scrape_jobs_webhooks_oldest_change_seconds", age, pending.oldest_change_seconds
        ),
    ]
