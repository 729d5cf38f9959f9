"""The jobs, as metrics for Prometheus."""

from prometheus_client.core import GaugeMetricFamily

from app.statistics import service


def job_metrics() -> list[GaugeMetricFamily]:
    """Return the number of jobs by status. Raises DatabaseFailure."""
    jobs = GaugeMetricFamily("scrape_jobs_jobs", "Jobs by status", labels=["status"])
    for status, number in service.jobs_by_status().items():
        jobs.add_metric([status], number)
    return [jobs]
