"""The queue's depth, as metrics for Prometheus."""

from prometheus_client.core import GaugeMetricFamily

from app.queue import service


def queue_metrics() -> list[GaugeMetricFamily]:
    """Return how many jobs are due, and for how long. Raises DatabaseFailure."""
    depth = service.depth()
    age = "How long the oldest due job has been due"
    return [
        GaugeMetricFamily(
            "scrape_jobs_queue_due_jobs", "Pending jobs that are due", depth.due_jobs
        ),
        GaugeMetricFamily("scrape_jobs_queue_oldest_due_seconds", age, depth.oldest_seconds),
    ]
