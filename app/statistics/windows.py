"""Windows of time as sums of whole hours, days and so on, for which totals are kept, and of the
rest at the edges."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MINUTE, TEN_MINUTES, QUARTER, HOUR, SIX_HOURS, DAY = 60, 600, 900, 3600, 21600, 86400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

Moment = datetime | None
"""None is before, or after, all times."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` on, up to and without `end`, made of rows of `grain` seconds."""

    grain: int
    start: Moment
    end: Moment


@dataclass(frozen=True, slots=True)
class Cover:
    """A window as `spans` of totals, which lie one beside the other, and the `edges` that are left,
    at most two."""

    spans: Sequence[Span]
    edges: Sequence[tuple[datetime, datetime]]

    @property
    def counted(self) -> tuple[Moment, Moment] | None:
        """From when to when the spans reach; None where there are none."""
        return (self.spans[0].start, self.spans[-1].end) if self.spans else None


def cover(start: Moment, end: Moment, grains: Sequence[int]) -> Cover:
    """Return the window from `start` up to and without `end` as spans of `grains`, the largest of
    which comes first."""
    if start is not None and end is not None and start >= end:
        return Cover((), ())
    if not grains:
        assert start is not None
        assert end is not None
        return Cover((), ((start, end),))
    grain, *finer = grains
    first = None if start is None else ceiling(start, grain)
    last = None if end is None else floor(end, grain)
    if first is not None and first >= (last or LAST):
        if end is None:  # the calendar ends before a whole one begins
            return cover(start, LAST, finer)
        return cover(start, end, finer)
    before = Cover((), ()) if first is None else cover(start, first, finer)
    after = Cover((), ()) if last is None else cover(last, end, finer)
    return Cover(
        (*before.spans, Span(grain, first, last), *after.spans), (*before.edges, *after.edges)
    )


def ceiling(moment: datetime, grain: int) -> datetime:
    """Return the first start of a row of `grain` seconds from `moment` on, or the end of the
    calendar."""
    start = floor(moment, grain)
    if start == moment:
        return moment
    return LAST if LAST - start < timedelta(seconds=grain) else start + timedelta(seconds=grain)


def floor(moment: datetime, grain: int) -> datetime:
    """Return the start of the row of `grain` seconds that `moment` lies in."""
    return moment - (moment - EPOCH) % timedelta(seconds=grain)
