"""Statistics: keeps the running totals up to date and computes the figures of a window."""

from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from app.database.batch_size import BatchSize
from app.database.batches import run_batch
from app.database.session_settings import STATEMENT_SECONDS
from app.statistics import counting, reading, time_zones
from app.statistics.measures import MAX_GROUPS, STATES
from app.statistics.reading import JobFigures, StatisticsFilter
from app.statistics.windows import Bound

MAX_BATCH = 1000
"""Status changes that one statement counts."""

MAX_PER_ROUND = 20 * MAX_BATCH
"""Status changes that the background counts before it runs its other tasks."""


def count(limit: int | None = None) -> int:
    """Add status changes to the running totals until none is left, or about `limit` are counted.

    Any number of processes may call this; one counts at a time. A batch that times out, because
    its jobs reported large documents, is repeated with fewer changes.

    Returns:
        The number of changes that were counted.

    Raises:
        DatabaseFailure: The database did not answer, or a single change takes too long.
    """
    counted, size = 0, BatchSize(MAX_BATCH, STATEMENT_SECONDS / 2)
    while limit is None or counted < limit:
        batch = run_batch(size, counting.count)
        if not batch:
            break
        counted += batch
    return counted


def count_round() -> int:
    """Count for one round of the background task. Raises DatabaseFailure."""
    return count(MAX_PER_ROUND)


def jobs_by_status() -> dict[str, int]:
    """Return the number of jobs in each status. Raises DatabaseFailure."""
    return reading.jobs_by_status()


def statistics(
    start: Bound,
    end: Bound,
    *,
    customer: UUID | None,
    domain: str | None,
    job_type: str | None,
    group: str | None,
    zone: ZoneInfo | None = None,
) -> dict[str, Any]:
    """Return the figures of the jobs that entered their status from `start` until before `end`.

    Args:
        start: The start of the window.
        end: The end of the window.
        customer: Only jobs of this customer.
        domain: Only jobs of this domain.
        job_type: Only jobs of this type.
        group: domain, job_type, hour or day.
        zone: The time zone of groups by hour or day; UTC by default.

    Returns:
        The object of the API's answer.

    Raises:
        DatabaseFailure: The database did not answer.
    """
    zone = zone or time_zones.load("UTC")
    wanted = StatisticsFilter(customer, domain, job_type, group, zone)
    all_jobs, *groups = reading.read(start, end, wanted)
    figures = {"from": _format(start), "to": _format(end), **_figures(all_jobs)}
    figures["groups"] = [
        {"key": _key(found.key, zone), **_figures(found)} for found in groups[:MAX_GROUPS]
    ]
    if len(groups) > MAX_GROUPS:
        figures["more_groups"] = True
    return figures


def _key(key: str | datetime | None, zone: ZoneInfo) -> str | None:
    return time_zones.format_in_zone(key, zone) if isinstance(key, datetime) else key


def _figures(found: JobFigures) -> dict[str, Any]:
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
"""The names of memoryUsage, cpuUsage and networkLatency in the answer, and in the totals."""


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if not whole else round((part or 0) / whole, 6)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _format(moment: datetime | None) -> str | None:
    return (
        None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
