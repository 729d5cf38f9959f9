"""Selects the totals to read for a window, and for each hour or day of a time zone in it."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from app.statistics.time_zones import UNITS, periods_around
from app.statistics.windows import (
    DAY,
    HOUR,
    LAST,
    MINUTE,
    QUARTER,
    SIX_HOURS,
    TEN_MINUTES,
    Bound,
    TotalsSpan,
    WindowCover,
    ceiling,
    cover,
    floor,
)

GRAINS_OF_ALL = (DAY, SIX_HOURS, HOUR, TEN_MINUTES, MINUTE)
GRAINS_OF_KINDS = (DAY, HOUR)
QUARTERS_OF_KINDS = (*GRAINS_OF_KINDS, QUARTER)
"""The grains of the totals: of all jobs together, and of each kind (customer, domain, type).

Every offset from UTC since 1972 is a multiple of a quarter of an hour. So each hour and day of a
zone is a sum of quarters.
"""

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """The totals of each hour or day in a window.

    Attributes:
        firsts: The starts of the hours or days, in ascending order.
        periods: The place in `firsts`, start and end of each period. They assign the events that
            no span covers.
        spans: The place in `firsts` and the span of each part.
    """

    firsts: Sequence[datetime]
    periods: Sequence[tuple[int, datetime, datetime]]
    spans: Sequence[tuple[int, TotalsSpan]]


class KeptGrains:
    """The grains of the totals that are kept.

    Args:
        of_kinds: Whether the totals of each kind are read, or else those of all jobs together.
        quarters_since: The time since which quarters of an hour are kept of each kind; None if
            they are not kept.
    """

    def __init__(self, of_kinds: bool, quarters_since: Bound = None) -> None:
        self._of_kinds = of_kinds
        self._quarters_since = quarters_since

    def of(self, *moments: Bound) -> Sequence[int]:
        """Return the grains for windows that start or end at `moments`."""
        if not self._of_kinds:
            return GRAINS_OF_ALL
        return (
            QUARTERS_OF_KINDS
            if all(self._has_quarters(moment) for moment in moments)
            else GRAINS_OF_KINDS
        )

    def aligned(self, moment: datetime) -> datetime:
        """Round `moment` up to the start of a row of the finest grain.

        This changes `moment` only before quarters were kept. An hour then belongs as a whole to the
        period in which it begins.
        """
        return ceiling(moment, self.of(moment)[-1])

    def _has_quarters(self, moment: Bound) -> bool:
        since = self._quarters_since
        return moment is None or (since is not None and floor(moment, HOUR) >= since)


def cover_window(start: Bound, end: Bound, grains: KeptGrains) -> WindowCover:
    """Return the totals of the window from `start` until before `end`."""
    return cover(start, end, grains.of(start, end))


def cover_periods(
    zone: ZoneInfo,
    unit: str,
    utc_periods: Sequence[datetime],
    limit: int,
    window: WindowCover,
    grains: KeptGrains,
) -> PeriodTotals:
    """Return the totals of the newest hours or days of `zone` in a `window`.

    Args:
        zone: The time zone of the hours or days.
        unit: hour or day.
        utc_periods: The hours or days of UTC that have events, the newest first.
        limit: If `utc_periods` has this length, older ones may be missing.
        window: The window as spans and edges.
        grains: The grains of the totals that are kept.
    """
    oldest = utc_periods[-1] if len(utc_periods) >= limit else None
    touched = {*utc_periods, *_utc_periods_of_edges(window, unit)}
    periods = [
        period
        for period in periods_around(zone, unit, sorted(touched))
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
    return PeriodTotals(firsts, pieces, list(_spans(pieces, window, grains)))


def _utc_periods_of_edges(window: WindowCover, unit: str) -> Iterator[datetime]:
    """Return the hours or days of UTC that hold the edges; an edge is shorter than two hours."""
    for start, end in window.edges:
        yield floor(start, UNITS[unit])
        yield floor(end - _MICROSECOND, UNITS[unit])


def _spans(
    pieces: Sequence[tuple[int, datetime, datetime]], window: WindowCover, grains: KeptGrains
) -> Iterator[tuple[int, TotalsSpan]]:
    if window.counted is None:
        return
    low, high = window.counted
    for place, start, end in pieces:
        start, end = max(start, low or start), min(end, high or LAST)
        for span in cover(start, end, grains.of(start, end)).spans:
            yield place, span
