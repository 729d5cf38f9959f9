"""The values of a claim: the worker's request, and the jobs that it gets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app.database import tenant_scope

MAX_DOMAIN_TYPE_PAIRS = 100
"""How many pairs of a domain and a job type are looked up one by one: each costs an index lookup,
even if it has no jobs."""


@dataclass(frozen=True, slots=True)
class ClaimFilter:
    """Which jobs a worker accepts.

    Attributes:
        job_types: The accepted job types; None accepts all.
        domains: The accepted domains; None accepts all.
        domain_limit: How many jobs of one domain may run at the same time; None for no limit.
    """

    job_types: Sequence[str] | None = None
    domains: Sequence[str] | None = None
    domain_limit: int | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the statements that use `order.MATCHES_FILTER`."""
        return {
            "job_types": self.job_types,
            "domains": self.domains,
            "domain_limit": self.domain_limit,
        }

    @property
    def partitioning(self) -> str:
        """The name in `order.PARTITIONINGS` whose partitions hold the fewest other jobs."""
        if self.domains is not None:
            return "domains_and_types" if self._has_few_pairs(self.domains) else "domains"
        if tenant_scope.customer() is not None:
            return "customer"
        return "all" if self.job_types is None else "types"

    @property
    def accepts_whole_partitions(self) -> bool:
        """Whether it accepts all jobs of its partitions, so that `order.FIRST_JOBS` has them."""
        if self.domains is not None:
            return False
        return self.job_types is None or tenant_scope.customer() is None

    def _has_few_pairs(self, domains: Sequence[str]) -> bool:
        types = self.job_types
        return types is not None and len(domains) * len(types) <= MAX_DOMAIN_TYPE_PAIRS


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """A worker's request for jobs.

    Attributes:
        worker_id: The worker's name.
        filter: Which jobs the worker accepts.
        limit: How many jobs to claim at most.
        lease_seconds: How long the lease of each job lasts without a heartbeat.
        wait_seconds: How long to wait if no job is due. `service.claim` does not wait.
    """

    worker_id: str
    filter: ClaimFilter
    limit: int = 1
    lease_seconds: int = 60
    wait_seconds: int = 0


class ClaimedJob(NamedTuple):
    """A job that a worker has claimed. Jobs compare in the order of the queue.

    Attributes:
        rank: The position in the queue's order, see `order.RANK`.
        id: The job's id.
        token: The lease token.
        json: The job as JSON text.
    """

    rank: datetime
    id: UUID
    token: str
    json: str


class UpcomingJob(NamedTuple):
    """A job that a claim would return next: the fields of `ClaimedJob`, without a lease."""

    rank: datetime
    id: UUID
    json: str
