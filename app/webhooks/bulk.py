"""Actions on many deliveries: done in steps of bounded time, as many as fit into one request."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.database import Batches, Row
from app.webhooks.delivery_queries import DROP_DELIVERIES, REDELIVER_FAILED, REPLAY

REQUEST_SECONDS = 2.0
"""How long a request goes on taking steps."""

STEP_ROWS, STEP_SECONDS = 1000, 0.25
"""How much a step does at most, and how long it may take, for it holds locks on deliveries
meanwhile."""

Position = tuple[datetime, UUID, int]
"""Of a status change among all: when it happened, its job, and its number there."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How many deliveries an action has reached, and where it goes on: None where it is
    complete."""

    deliveries: int
    position: Any


def redeliver_failed(endpoint_id: UUID, since: datetime) -> Progress:
    """Make deliveries due that were given up since then, the earliest first, until all are or the
    time is over.

    Those that it reached are not failed any more, so that calling it again goes on. Raises
    DatabaseFailure.
    """
    parameters = {"endpoint_id": str(endpoint_id), "since": since}
    return _take_steps(
        Batches(REDELIVER_FAILED, STEP_ROWS, STEP_SECONDS),
        parameters,
        lambda row: {"since": row[2]},
    )


def replay(endpoint_id: UUID, after: Position, until: datetime) -> Progress:
    """Send the status changes after a position and before a time again, until all are or the time
    is over.

    Raises DatabaseFailure.
    """

    def following(row: Row) -> Mapping[str, Any]:
        return {"after_at": row[2], "after_id": str(row[3]), "after_seq": row[4]}

    at, job_id, seq = after
    parameters = {
        "endpoint_id": str(endpoint_id),
        "until": until,
        "after_at": at,
        "after_id": str(job_id),
        "after_seq": seq,
    }
    return _take_steps(Batches(REPLAY, STEP_ROWS, STEP_SECONDS), parameters, following)


def drop_deliveries(endpoint_id: UUID) -> None:
    """Remove the deliveries to an endpoint that is deleted, until all are or the time is over.

    Retention removes the rest. Raises DatabaseFailure.
    """
    _take_steps(
        Batches(DROP_DELIVERIES, STEP_ROWS, STEP_SECONDS),
        {"endpoint_id": str(endpoint_id)},
        lambda _: {},
    )


def _take_steps(
    batches: Batches, parameters: Mapping[str, Any], following: Callable[[Row], Mapping[str, Any]]
) -> Progress:
    """Run steps, each from where the one before has ended, which `following` makes of its row."""
    ends_at = time.monotonic() + REQUEST_SECONDS
    deliveries = 0
    while True:
        row = batches.run(parameters)[0]
        deliveries += row[0]
        if not row[1]:
            return Progress(deliveries, None)
        parameters = {**parameters, **following(row)}
        if time.monotonic() >= ends_at:
            return Progress(deliveries, row[2:])
