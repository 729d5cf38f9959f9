"""Rules for resuming a list in ascending order of time without missing late commits.

A change has the time when its transaction began, and becomes visible when that transaction
commits. So a job may appear in the list before jobs that a client has read already. The rows
before the start of the oldest open transaction are settled: no job can appear among them any more.
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
    """Where the next page of a list begins.

    Attributes:
        position: The next page of this traversal begins after it.
        settled: The next traversal begins after it. It stays behind `position` if rows were not
            settled when they were read. Those rows are shown again.
    """

    position: Position = BEGINNING
    settled: Position = BEGINNING


def next_point(
    since: ResumePoint, shown: Sequence[Position], settled_before: datetime, *, more: bool
) -> ResumePoint:
    """Return where to resume after a page.

    Args:
        since: Where the page began.
        shown: The positions of its rows, in their order.
        settled_before: The start of the oldest transaction that was open when the page was read.
        more: Whether more rows follow now. If not, the traversal ends, and the next one begins
            after the settled rows.
    """
    position = shown[-1] if shown else since.position
    settled = since.settled
    if since.settled == since.position:  # else an earlier page of this traversal was not settled
        settled = max(
            (place for place in shown if place[0] < settled_before), default=since.settled
        )
    return ResumePoint(position if more else settled, settled)
