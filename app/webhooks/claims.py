"""The values of a claim: the claimed deliveries, and the bounds on their number."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

JobAndEndpoint = tuple[UUID, UUID]
"""The ids of a job and an endpoint. The deliveries of each pair are sent in order."""

DeliveryKey = tuple[UUID, int, UUID]
"""The primary key of a delivery: the job, the number of the event, and the endpoint."""


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that a dispatcher has claimed, with the values that an attempt needs."""

    job_id: UUID
    seq: int
    endpoint_id: UUID
    id: UUID
    body: str
    failures: int
    url: str
    sealed_secret: str
    sealed_previous_secret: str | None
    sealed_headers: str | None
    failing_since: datetime | None
    pending_seconds: float

    @property
    def key(self) -> DeliveryKey:
        """The primary key of the delivery."""
        return self.job_id, self.seq, self.endpoint_id


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """The bounds of one claim.

    Attributes:
        deliveries: Maximum number of deliveries in all.
        capacity: Maximum number of deliveries of an endpoint without an `EndpointShare`.
        untrusted: Maximum number of deliveries held of one customer's untrusted endpoints.
    """

    deliveries: int
    capacity: int
    untrusted: int


@dataclass(frozen=True, slots=True)
class EndpointShare:
    """The share of the senders that one endpoint may take.

    Attributes:
        held: The number of its deliveries that this dispatcher holds.
        capacity: The number of deliveries that may be claimed in addition.
        trusted: Whether its last response was quick, so that it occupies no sender for long.
    """

    held: int
    capacity: int
    trusted: bool = False
