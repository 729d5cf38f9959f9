"""Where a reader of jobs in ascending order of time goes on later, without missing what was
committed late: pure rules.

A change carries the time when its transaction began, and becomes visible when that ends. So a job
may appear before others that were read already. The rows before the start of the oldest open
transaction are settled: nothing can appear among them any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

Position = tuple[datetime, UUID]

BEGINNING: Position = (datetime.min.replace(tzinfo=UTC), UUID(int=0))
"""The position before all jobs."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where the next page begins.

    Attributes:
        position: The next page of this traversal begins after it.
        settled: The next traversal begins after it. It stays behind `position` where rows were not
            settled when they were read; these are shown again.
    """

    position: Position = BEGINNING
    settled: Position = BEGINNING


def next_point(
    since: ResumePoint, shown: Sequence[Position], settled_before: datetime, *, more: bool
) -> ResumePoint:
    """Return where to go on after a page that began at `since`.

    Args:
        since: Where the page began.
        shown: The positions of its rows, in their order.
        settled_before: The start of the oldest transaction that was open when the page was read.
        more: Whether more rows follow now. Else the traversal ends, and the next one begins behind
            what is settled.
    """
    position = shown[-1] if shown else since.position
    settled = since.settled
    if since.settled == since.position:  # else an earlier page of this traversal was not settled
        settled = max(
            (place for place in shown if place[0] < settled_before), default=since.settled
        )
    return ResumePoint(position if more else settled, settled)
