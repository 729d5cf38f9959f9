"""What a key may be allowed to do."""

from collections.abc import Collection
from enum import StrEnum


class Scope(StrEnum):
    """A kind of thing that can be done."""

    JOBS_READ = "jobs:read"  # see jobs, their history, their place in the queue, and the statistics
    JOBS_WRITE = "jobs:write"  # create, update and retry jobs
    JOBS_CANCEL = "jobs:cancel"  # cancel jobs
    QUEUE_WORK = "queue:work"  # take jobs, and report on those that one has taken
    WEBHOOKS_MANAGE = "webhooks:manage"  # everything about webhooks
    METRICS_READ = "metrics:read"  # read /metrics
    ALL = "all"  # everything, for administrators


def allows(granted: Collection[str], wanted: Collection[Scope]) -> bool:
    """Tell whether a key with the scopes `granted` may do what needs one of `wanted`."""
    return Scope.ALL in granted or any(scope in granted for scope in wanted)
