"""What can be asked of the statistics, and how the running totals are kept up."""

from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from app.errors import DatabaseTimeout
from app.statistics import queries, time_zones
from app.statistics.queries import MOST_GROUPS, STATES, Figures, Question
from app.statistics.windows import Moment

BATCH = 1000

SOME = 20 * BATCH
"""How much the background counts in one go, before it looks after other things."""


def count(most: int | None = None) -> int:
    """Add to the totals what happened since the last time, at most about `most`, and return how
    many changes that were.

    Any number of processes may do so; one at a time does. A batch that takes too long, for what its
    jobs reported is large, is tried again in halves. Raises DatabaseFailure.
    """
    counted, size = 0, BATCH
    while most is None or counted < most:
        try:
            batch = queries.count(size)
        except DatabaseTimeout:
            if size == 1:
                raise
            size = max(1, size // 4)
            continue
        counted += batch
        if batch < size:
            break
    return counted


def count_some() -> int:
    """Count as the background does: often, and never for long. Raises DatabaseFailure."""
    return count(SOME)


def jobs_by_status() -> dict[str, int]:
    """Return how many jobs stand in each status. Raises DatabaseFailure."""
    return queries.jobs_by_status()


def statistics(
    start: Moment,
    end: Moment,
    *,
    customer: UUID | None,
    domain: str | None,
    job_type: str | None,
    group: str | None,
    zone: ZoneInfo | None = None,
) -> dict[str, Any]:
    """Return the figures of the jobs that took their status from `start` on, up to and without
    `end`.

    Groups by hour or day are the hours or days of `zone`, by default of UTC. Raises
    DatabaseFailure.
    """
    zone = zone or time_zones.load("UTC")
    everything, *groups = queries.read(
        start, end, Question(customer, domain, job_type, group, zone)
    )
    figures = {"from": _shown(start), "to": _shown(end), **_figures(everything)}
    figures["groups"] = [
        {"key": _key(found.key, zone), **_figures(found)} for found in groups[:MOST_GROUPS]
    ]
    if len(groups) > MOST_GROUPS:
        figures["more_groups"] = True
    return figures


def _key(key: str | datetime | None, zone: ZoneInfo) -> str | None:
    return time_zones.written(key, zone) if isinstance(key, datetime) else key


def _figures(found: Figures) -> dict[str, Any]:
    measures = found.measures
    by_status = {status: measures[status] or 0 for status in STATES}
    total, ended = sum(by_status.values()), by_status["completed"] + by_status["failed"]
    figures = {
        "total": total,
        "by_status": by_status,
        "success_rate": _ratio(by_status["completed"], ended),
        "failure_rate": _ratio(by_status["failed"], ended),
        "retry_rate": _ratio(measures["retried"], total),
        "pages_per_minute": _ratio((measures["pages"] or 0) * 60, measures["page_seconds"]),
        "completion_seconds": {
            "mean": _ratio(measures["seconds"], measures["timed"]),
            "p50": _rounded(found.p50),
            "p95": _rounded(found.p95),
        },
        "resources": {
            name: {
                "mean": _ratio(measures[f"{column}_sum"], measures[f"{column}_samples"]),
                "peak": _rounded(measures[f"{column}_peak"]),
            }
            for name, column in RESOURCES.items()
        },
        "errors": list(found.errors or ()),
    }
    if found.other_errors:
        figures["other_errors"] = found.other_errors
    return figures


RESOURCES = {"memory_mb": "memory", "cpu_percent": "cpu", "network_latency_ms": "latency"}
"""The figures of stats.performance: memoryUsage, cpuUsage and networkLatency, with their units."""


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if not whole else round((part or 0) / whole, 6)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _shown(moment: datetime | None) -> str | None:
    return (
        None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
