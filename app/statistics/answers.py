"""The forms of the statistics' answer, for the OpenAPI document."""

from typing import Any

from marshmallow import fields

from app.http.documentation import AnswerSchema
from app.http.fields import Id, Timestamp, about


def _count() -> fields.Integer:
    return fields.Integer(metadata={"minimum": 0})


def _figure(description: str) -> fields.Float:
    """Return a field for a figure that is null where nothing is counted."""
    return fields.Float(allow_none=True, **about(description))


class CountsByStatus(AnswerSchema):
    """The number of jobs in each status."""

    title = "CountsByStatus"

    pending = _count()
    running = _count()
    completed = _count()
    failed = _count()
    cancelled = _count()


class CompletionSeconds(AnswerSchema):
    """How long attempts took."""

    title = "CompletionSeconds"

    mean = _figure("The mean.")
    p50 = _figure("The median, within 5 %.")
    p95 = _figure("The 95th percentile, within 5 %.")


class ResourceUse(AnswerSchema):
    """The use of one resource, from `stats.performance`."""

    title = "ResourceUse"

    mean = _figure("The mean.")
    peak = _figure("The peak.")


class ResourcesAnswer(AnswerSchema):
    """The use of resources."""

    title = "Resources"

    memory_mb = fields.Nested(ResourceUse)
    cpu_percent = fields.Nested(ResourceUse)
    network_latency_ms = fields.Nested(ResourceUse)


class ErrorPattern(AnswerSchema):
    """An error text, with numbers, ids and URLs folded."""

    title = "ErrorPattern"

    pattern = fields.String()
    count = _count()
    job_id = Id(**about("A job that failed with it."))


class FiguresAnswer(AnswerSchema):
    """The figures of some jobs."""

    optional = frozenset({"other_errors"})

    total = _count()
    by_status = fields.Nested(CountsByStatus)
    success_rate = _figure("Completed, of the jobs that are completed or failed; 0 to 1.")
    failure_rate = _figure("Failed, of the jobs that are completed or failed; 0 to 1.")
    retry_rate = _figure("Retried, of all jobs; 0 to 1.")
    pages_per_minute = _figure("Pages per minute of work.")
    completion_seconds = fields.Nested(CompletionSeconds)
    resources = fields.Nested(ResourcesAnswer)
    errors = fields.List(fields.Nested(ErrorPattern), **about("The most frequent error texts."))
    other_errors = fields.Integer(**about("Failures with other texts; absent where it is 0."))


class FiguresOfGroup(FiguresAnswer):
    """The figures of a group."""

    title = "FiguresOfGroup"

    key = fields.String(
        allow_none=True, **about("The domain or type, or the time at which the hour or day began.")
    )


class StatisticsAnswer(FiguresAnswer):
    """The figures of a window of time, of all its jobs and of each group."""

    title = "Statistics"
    optional = frozenset({"other_errors", "more_groups"})

    from_ = Timestamp(allow_none=True, data_key="from")
    to = Timestamp(allow_none=True)
    groups = fields.List(fields.Nested(FiguresOfGroup))
    more_groups = fields.Boolean(**about("Whether there are more groups; absent where not."))


_FIGURES: dict[str, Any] = {
    "total": 3,
    "by_status": {"pending": 0, "running": 0, "completed": 2, "failed": 1, "cancelled": 0},
    "success_rate": 0.666667,
    "failure_rate": 0.333333,
    "retry_rate": 0.0,
    "pages_per_minute": 6.666667,
    "completion_seconds": {"mean": 1800.0, "p50": 1792.122969, "p95": 1792.122969},
    "resources": {
        "memory_mb": {"mean": 150.0, "peak": 150.0},
        "cpu_percent": {"mean": 45.2, "peak": 45.2},
        "network_latency_ms": {"mean": 250.0, "peak": 250.0},
    },
    "errors": [
        {
            "pattern": "Timeout after <n> s",
            "count": 1,
            "job_id": "0190f3a0-0000-7000-8000-000000000001",
        }
    ],
}

StatisticsAnswer.example = {
    "from": None,
    "to": None,
    **_FIGURES,
    "groups": [{"key": "example.com", **_FIGURES}],
}
STATISTICS = StatisticsAnswer()
