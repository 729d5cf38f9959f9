"""Actions on many deliveries, in steps of bounded time, as many as fit into one request."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.database import Batches, Row
from app.webhooks.delivery_queries import DELETE_DELIVERIES, REDELIVER_FAILED, REPLAY

REQUEST_SECONDS = 2.0
"""A request takes steps until this time has passed."""

STEP_ROWS, STEP_SECONDS = 1000, 0.25
"""Maximum number of rows of a step, and the time it should take: it locks deliveries meanwhile."""

EventPosition = tuple[datetime, UUID, int]
"""The position of an event among those of all jobs: its time, its job, and its number there."""


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """The progress of an action: its number of deliveries, and the position to continue from.

    The position is None when the action is complete.
    """

    deliveries: int
    position: Any


def redeliver_failed(endpoint_id: UUID, since: datetime) -> BulkProgress:
    """Make deliveries that have failed since `since` due, until the time of a request is over.

    The deliveries are not failed any more, so that the next call continues with the others. Raises
    DatabaseFailure.
    """
    parameters = {"endpoint_id": str(endpoint_id), "since": since}
    return _take_steps(
        Batches(REDELIVER_FAILED, STEP_ROWS, STEP_SECONDS),
        parameters,
        lambda row: {"since": row[2]},
    )


def replay(endpoint_id: UUID, after: EventPosition, until: datetime) -> BulkProgress:
    """Send status changes again, until the time of a request is over. Raises DatabaseFailure.

    Args:
        endpoint_id: The endpoint.
        after: The position after which the changes begin.
        until: The time before which they end.
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


def delete_deliveries(endpoint_id: UUID) -> None:
    """Delete the deliveries to a deleted endpoint, until the time of a request is over.

    Retention deletes the rest. Raises DatabaseFailure.
    """
    _take_steps(
        Batches(DELETE_DELIVERIES, STEP_ROWS, STEP_SECONDS),
        {"endpoint_id": str(endpoint_id)},
        lambda _: {},
    )


def _take_steps(
    batches: Batches, parameters: Mapping[str, Any], following: Callable[[Row], Mapping[str, Any]]
) -> BulkProgress:
    """Run steps until none is left or the time is over.

    Args:
        batches: The statement. Its row begins with the number of deliveries and whether more may
            be left; the position follows.
        parameters: The parameters of the first step.
        following: Returns the parameters that change, given the row of the step before.
    """
    ends_at = time.monotonic() + REQUEST_SECONDS
    deliveries = 0
    while True:
        row = batches.run(parameters)[0]
        deliveries += row[0]
        if not row[1]:
            return BulkProgress(deliveries, None)
        parameters = {**parameters, **following(row)}
        if time.monotonic() >= ends_at:
            return BulkProgress(deliveries, row[2:])
