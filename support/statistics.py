"""Steps and expected figures of the statistics tests."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from support.figures import Figures, Step

STATES = ("pending", "running", "completed", "failed", "cancelled")
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
MS = timedelta(milliseconds=1)

NO_FIGURES: Mapping[str, Any] = {
    "total": 0,
    "by_status": dict.fromkeys(STATES, 0),
    "success_rate": None,
    "failure_rate": None,
    "retry_rate": None,
    "pages_per_minute": None,
    "completion_seconds": {"mean": None, "p50": None, "p95": None},
    "resources": {
        "memory_mb": {"mean": None, "peak": None},
        "cpu_percent": {"mean": None, "peak": None},
        "network_latency_ms": {"mean": None, "peak": None},
    },
    "errors": [],
}


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def began(at: datetime = NOON, **fields: Any) -> Step:
    return {"status": "running", "started_at": iso(at), **fields}


def ended(status: str, seconds: float, **fields: Any) -> Step:
    return {"status": status, "completed_at": iso(NOON + timedelta(seconds=seconds)), **fields}


def by_status(**counts: int) -> dict[str, int]:
    return {**dict.fromkeys(STATES, 0), **counts}


def pattern_counts(figures: Figures) -> dict[str, int]:
    return {error["pattern"]: error["count"] for error in figures["errors"]}


def failure(text: str) -> Step:
    return {"status": "failed", "error_message": text}
