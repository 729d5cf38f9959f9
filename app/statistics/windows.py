"""Divides a time window into spans for which totals are kept, and the edges that remain."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MINUTE, TEN_MINUTES, QUARTER, HOUR, SIX_HOURS, DAY = 60, 600, 900, 3600, 21600, 86400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

Bound = datetime | None
"""The start or end of a window; None if it is unbounded."""


@dataclass(frozen=True, slots=True)
class TotalsSpan:
    """A span of time from `start` until before `end`, made of totals of `grain` seconds each."""

    grain: int
    start: Bound
    end: Bound


@dataclass(frozen=True, slots=True)
class WindowCover:
    """A window as adjacent `spans` of totals and at most two `edges` that no span covers."""

    spans: Sequence[TotalsSpan]
    edges: Sequence[tuple[datetime, datetime]]

    @property
    def counted(self) -> tuple[Bound, Bound] | None:
        """The start and end of all spans together; None if there are no spans."""
        return (self.spans[0].start, self.spans[-1].end) if self.spans else None


def cover(start: Bound, end: Bound, grains: Sequence[int]) -> WindowCover:
    """Divide the window from `start` until before `end`.

    Args:
        start: The start of the window.
        end: The end of the window.
        grains: The lengths in seconds of the totals that are kept, the longest first.
    """
    if start is not None and end is not None and start >= end:
        return WindowCover((), ())
    if not grains:
        assert start is not None
        assert end is not None
        return WindowCover((), ((start, end),))
    grain, *finer = grains
    first = None if start is None else ceiling(start, grain)
    last = None if end is None else floor(end, grain)
    if first is not None and first >= (last or LAST):
        if end is None:  # no whole grain before the end of the calendar
            return cover(start, LAST, finer)
        return cover(start, end, finer)
    before = WindowCover((), ()) if first is None else cover(start, first, finer)
    after = WindowCover((), ()) if last is None else cover(last, end, finer)
    return WindowCover(
        (*before.spans, TotalsSpan(grain, first, last), *after.spans), (*before.edges, *after.edges)
    )


def ceiling(moment: datetime, grain: int) -> datetime:
    """Round `moment` up to a multiple of `grain` seconds, at most to the end of the calendar."""
    start = floor(moment, grain)
    if start == moment:
        return moment
    return LAST if LAST - start < timedelta(seconds=grain) else start + timedelta(seconds=grain)


def floor(moment: datetime, grain: int) -> datetime:
    """Round `moment` down to a multiple of `grain` seconds."""
    return moment - (moment - EPOCH) % timedelta(seconds=grain)
