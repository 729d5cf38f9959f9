"""Scopes: the permissions of an API key."""

from collections.abc import Collection
from enum import StrEnum


class Scope(StrEnum):
    """A permission of an API key."""

    JOBS_READ = "jobs:read"  # read jobs, their history and queue position, and the statistics
    JOBS_WRITE = "jobs:write"  # create, update and retry jobs
    JOBS_CANCEL = "jobs:cancel"  # cancel jobs
    QUEUE_WORK = "queue:work"  # claim jobs, and report on claimed jobs
    WEBHOOKS_MANAGE = "webhooks:manage"  # manage webhooks and their deliveries
    METRICS_READ = "metrics:read"  # read /metrics
    ALL = "all"  # full access, for administrators


def allows(granted: Collection[str], wanted: Collection[Scope]) -> bool:
    """Return whether the scopes `granted` include `all` or one of the scopes `wanted`."""
    return Scope.ALL in granted or any(scope in granted for scope in wanted)
