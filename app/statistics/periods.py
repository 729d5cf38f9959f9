"""Which totals to read for the figures of a window, together and by the hours or days of a time
zone."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from app.statistics import time_zones
from app.statistics.windows import (
    DAY,
    HOUR,
    LAST,
    MINUTE,
    QUARTER,
    SIX_HOURS,
    TEN_MINUTES,
    Cover,
    Moment,
    Span,
    ceiling,
    cover,
    floor,
)

GRAINS_OF_ALL = (DAY, SIX_HOURS, HOUR, TEN_MINUTES, MINUTE)
GRAINS_OF_KINDS = (DAY, HOUR)
QUARTERS_OF_KINDS = (*GRAINS_OF_KINDS, QUARTER)
"""For which lengths of time totals are kept: of all jobs together, and of each kind (customer,
domain, type).

Every offset from UTC since 1972 is a multiple of a quarter of an hour: each hour and day of a zone
is a sum of these.
"""

BY_TIME = tuple(time_zones.LENGTH)

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ByPeriod:
    """A window as spans of totals of each hour or day: `spans` with the place of their period in
    `firsts`.

    `periods` are the same hours and days as times, by which events are told apart that no span
    holds.
    """

    firsts: Sequence[datetime]
    periods: Sequence[tuple[int, datetime, datetime]]
    spans: Sequence[tuple[int, Span]]


class Grains:
    """The totals that are kept: of all jobs, or of each kind, of which quarters of an hour are kept
    `since` a time."""

    def __init__(self, of_kinds: bool, since: Moment = None) -> None:
        self.of_kinds = of_kinds
        self._since = since

    def of(self, *moments: Moment) -> Sequence[int]:
        """Return the grains that windows can be made of which begin or end at `moments`."""
        if not self.of_kinds:
            return GRAINS_OF_ALL
        return (
            QUARTERS_OF_KINDS
            if all(self._has_quarters(moment) for moment in moments)
            else GRAINS_OF_KINDS
        )

    def aligned(self, moment: datetime) -> datetime:
        """Return where a row of the finest grain begins, at `moment` or next after it.

        Only before quarters were kept is that another moment: an hour then counts as a whole to the
        period that it begins in.
        """
        return ceiling(moment, self.of(moment)[-1])

    def _has_quarters(self, moment: Moment) -> bool:
        return moment is None or (self._since is not None and floor(moment, HOUR) >= self._since)


def whole(start: Moment, end: Moment, grains: Grains) -> Cover:
    """Return the totals of the window from `start` up to and without `end`."""
    return cover(start, end, grains.of(start, end))


def by_period(
    zone: ZoneInfo, unit: str, cells: Sequence[datetime], most: int, window: Cover, grains: Grains
) -> ByPeriod:
    """Return the totals of the hours or days of `zone` in a `window`, the newest ones.

    Args:
        zone: Whose hours or days.
        unit: hour or day.
        cells: The hours or days of UTC in which anything happened, the newest first.
        most: There may be older ones than `cells` names where it names so many.
        window: The window as spans and edges.
        grains: The totals that are kept.
    """
    oldest = cells[-1] if len(cells) >= most else None
    touched = {*cells, *_cells_of_edges(window, unit)}
    periods = [
        period
        for period in time_zones.periods_around(zone, unit, sorted(touched))
        if oldest is None or period.first >= oldest
    ]
    firsts = sorted({period.first for period in periods})
    pieces = [
        (
            bisect_left(firsts, period.first),
            grains.aligned(period.start),
            grains.aligned(period.end),
        )
        for period in periods
    ]
    pieces = [(place, start, end) for place, start, end in pieces if start < end]
    return ByPeriod(firsts, pieces, list(_spans(pieces, window, grains)))


def _cells_of_edges(window: Cover, unit: str) -> Iterator[datetime]:
    """Return the hours or days of UTC in which the edges lie: each is shorter than two hours."""
    for start, end in window.edges:
        yield floor(start, time_zones.LENGTH[unit])
        yield floor(end - _MICROSECOND, time_zones.LENGTH[unit])


def _spans(
    pieces: Sequence[tuple[int, datetime, datetime]], window: Cover, grains: Grains
) -> Iterator[tuple[int, Span]]:
    if window.counted is None:
        return
    low, high = window.counted
    for place, start, end in pieces:
        start, end = max(start, low or start), min(end, high or LAST)
        for span in cover(start, end, grains.of(start, end)).spans:
            yield place, span
