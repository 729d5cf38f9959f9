"""The endpoint for Prometheus: the metrics of all processes, and figures from the database."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from flask import Blueprint, Flask, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.api_keys.scopes import Scope
from app.errors import DatabaseFailure, DatabaseUnavailable
from app.http.documentation import Content, documented
from app.http.operation import operation

_TEXT = Content(
    "The metrics in the text format of Prometheus.",
    media_type=CONTENT_TYPE_LATEST,
    schema={"type": "string"},
    example="# HELP scrape_jobs_database_up Whether the database answers\n"
    "# TYPE scrape_jobs_database_up gauge\nscrape_jobs_database_up 1.0\n",
)

log = logging.getLogger(__name__)

MetricSource = Callable[[], Iterable[Metric]]
"""Returns metric families from the database, or raises DatabaseFailure."""


def register(
    app: Flask, process_metrics: Callable[[], Collector], sources: Sequence[MetricSource]
) -> None:
    """Add the endpoint to `app`.

    Args:
        app: The application.
        process_metrics: Returns the collector for the metrics of all processes of this server.
        sources: The figures that the database has.
    """
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @operation("Failed to read the metrics", Scope.METRICS_READ)
    @documented(_TEXT)
    def metrics() -> Response:
        """Show all metrics as of now."""
        registry = CollectorRegistry()
        registry.register(process_metrics())
        registry.register(_DatabaseCollector(sources))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    app.register_blueprint(blueprint)


class _DatabaseCollector(Collector):
    """Figures from the database; a source that fails is left out."""

    def __init__(self, sources: Sequence[MetricSource]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        is_up = True
        for source in self._sources:
            try:
                yield from source()
            except DatabaseUnavailable:
                is_up = False
            except DatabaseFailure as failure:
                log.warning("figures from the database left out: %s", failure.details)
        yield GaugeMetricFamily(
            "scrape_jobs_database_up", "Whether the database answers", int(is_up)
        )
