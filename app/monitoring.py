"""How the service runs, for Prometheus: what its processes measure, and what the database knows at
the moment."""

import logging
from collections.abc import Iterator

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.api_keys.scopes import Scope
from app.errors import DatabaseFailure, DatabaseUnavailable
from app.http.operation import operation
from app.queue import service as queue
from app.server import shared_metrics
from app.statistics import service as statistics
from app.webhooks import service as webhooks

log = logging.getLogger(__name__)

blueprint = Blueprint("monitoring", __name__)


@blueprint.get("/metrics")
@operation("Failed to tell the metrics", Scope.METRICS_READ)
def metrics() -> Response:
    """Tell all metrics, as of now, of all processes."""
    registry = CollectorRegistry()
    registry.register(shared_metrics.shared() or REGISTRY)
    registry.register(_Database())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Database(Collector):
    """What the database knows; what it does not tell in time is left out."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        is_up = True
        for ask in (_jobs, _queue, _webhooks):
            try:
                yield from ask()
            except DatabaseUnavailable:
                is_up = False
            except DatabaseFailure as failure:
                log.warning("metrics lack what the database knows: %s", failure.details)
        yield GaugeMetricFamily(
            "scrape_jobs_database_up", "Whether the database answers", int(is_up)
        )


def _jobs() -> list[GaugeMetricFamily]:
    jobs = GaugeMetricFamily(
        "scrape_jobs_jobs", "Jobs by the status they stand in", labels=["status"]
    )
    for status, number in statistics.jobs_by_status().items():
        jobs.add_metric([status], number)
    return [jobs]


def _queue() -> list[GaugeMetricFamily]:
    depth = queue.depth()
    age = "How long the oldest of them has been due"
    return [
        GaugeMetricFamily(
            "scrape_jobs_queue_due_jobs", "Pending jobs that are due", depth.due_jobs
        ),
        GaugeMetricFamily("scrape_jobs_queue_oldest_due_seconds", age, depth.oldest_seconds),
    ]


def _webhooks() -> list[GaugeMetricFamily]:
    owed = webhooks.count_pending()
    text = "Webhooks that are not delivered yet, nor given up; an estimate past 100,000"
    age = "How long the oldest status change has waited for its deliveries to be made"
    return [
        GaugeMetricFamily("scrape_jobs_webhooks_owed", text, owed.number),
        GaugeMetricFamily(
            "scrape_jobs_webhooks_oldest_change_seconds", age, owed.oldest_change_seconds
        ),
    ]
