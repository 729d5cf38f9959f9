"""Hours and days of a time zone as spans of UTC.

The rules are those of the IANA database in the `tzdata` package, never the host's or PostgreSQL's:
the same name gives the same instants on every machine.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from app.statistics.windows import DAY, HOUR

UNITS = {"hour": HOUR, "day": DAY}
"""The seconds of an hour, and of a day without a change of the clock."""

_REACH = {"hour": timedelta(hours=2), "day": timedelta(days=2)}
"""More than the longest hour or day of any zone."""

_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""The range in which every zone's local time is within the calendar. No event is outside of it."""

_SECOND = timedelta(seconds=1)
_STEP = timedelta(days=1)
"""No zone changes its offset twice in a shorter time."""


@dataclass(frozen=True, slots=True)
class ZonePeriod:
    """An hour or day of a zone, or a part of one, from `start` until before `end`.

    Attributes:
        first: The moment when the hour or day began; it identifies the period. A day whose midnight
            is repeated has two parts with the same `first`.
        start: The start of this part.
        end: The end of this part.
    """

    first: datetime
    start: datetime
    end: datetime


@cache
def names() -> frozenset[str]:
    """Return the names of all zones."""
    return frozenset((resources.files("tzdata") / "zones").read_text().split())


@lru_cache(maxsize=64)
def load(name: str) -> ZoneInfo:
    """Return the zone called `name`. Raises ValueError if there is none."""
    if name not in names():  # also rejects paths
        raise ValueError(name)
    with (resources.files("tzdata") / "zoneinfo" / name).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def format_in_zone(moment: datetime, zone: ZoneInfo) -> str:
    """Return `moment` in the API's format: with a Z in UTC, with the offset in other zones."""
    text = moment.astimezone(zone).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z") if zone.key == "UTC" else text


def periods_around(zone: ZoneInfo, unit: str, utc_periods: Sequence[datetime]) -> list[ZonePeriod]:
    """Return the hours or days of `zone` that overlap hours or days of UTC, in ascending order.

    Args:
        zone: The time zone.
        unit: hour or day.
        utc_periods: The starts of the hours or days of UTC, in ascending order.
    """
    length = timedelta(seconds=UNITS[unit])
    utc_periods = [start for start in utc_periods if _EARLIEST < start < _LATEST]
    found: list[ZonePeriod] = []
    for start, end in _stretches(utc_periods, length, _REACH[unit]):
        for period in _periods(zone, unit, start, end):
            place = bisect_left(utc_periods, period.end)
            if place and utc_periods[place - 1] + length > period.start:
                found.append(period)
    return found


def _stretches(
    utc_periods: Sequence[datetime], length: timedelta, reach: timedelta
) -> Iterator[tuple[datetime, datetime]]:
    """Return disjoint stretches of time that hold all periods and `reach` around them."""
    start = end = None
    for period_start in utc_periods:
        if end is None or start is None:
            start = period_start - reach
        elif period_start - reach > end:
            yield start, end
            start = period_start - reach
        end = period_start + length + reach
    if start is not None and end is not None:
        yield start, end


def _periods(zone: ZoneInfo, unit: str, start: datetime, end: datetime) -> Iterator[ZonePeriod]:
    """Return the hours or days from `start` to `end`; the first and the last may be cut."""
    begun: dict[object, datetime] = {}
    label, since = None, start
    for piece, clock, offset in _pieces(zone, UNITS[unit], start, end):
        following = (clock, offset) if unit == "hour" else clock
        if following == label:
            continue
        if label is not None:
            yield ZonePeriod(begun[label], since, piece)
        label, since = following, piece
        begun.setdefault(label, piece)
    if label is not None:
        yield ZonePeriod(begun[label], since, end)


def _pieces(
    zone: ZoneInfo, length: int, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Return each begin of an hour or day, and each change of the offset.

    Returns:
        Tuples of the moment, the local time at the begin of its hour or day, and the offset.
    """
    step = timedelta(seconds=length)
    for low, high in _constant(zone, start, end):
        offset = _offset(zone, low)
        moment = low
        while moment < high:
            into = (moment + offset - _MIDNIGHT) % step
            yield moment, moment + offset - into, offset
            moment += step - into


_MIDNIGHT = datetime(2000, 1, 1, tzinfo=UTC)


def _constant(
    zone: ZoneInfo, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Divide the time from `start` to `end` into stretches of the same offset from UTC."""
    since = at = start
    while at < end:
        following = min(at + _STEP, end)
        if _offset(zone, following) != _offset(zone, at):
            change = _change(zone, at, following)
            if change < end:
                yield since, change
                since = change
        at = following
    yield since, end


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Return the moment when the offset changes from the one at `low` to the one at `high`."""
    before = _offset(zone, low)
    while high - low > _SECOND:
        middle = low + (high - low) // _SECOND // 2 * _SECOND
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return high


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
