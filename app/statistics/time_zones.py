"""Time zones: which hours and days a zone's clocks show, as spans of UTC.

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

LENGTH = {"hour": HOUR, "day": DAY}
"""Seconds of an hour and of a day whose clock is not changed."""

_REACH = {"hour": timedelta(hours=2), "day": timedelta(days=2)}
"""More than the longest hour, or day, that any zone has."""

_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Nothing happened before or after, and the calendar has room for every zone in between."""

_SECOND = timedelta(seconds=1)
_STEP = timedelta(days=1)
"""No zone changes its offset twice in less."""


@dataclass(frozen=True, slots=True)
class Period:
    """An hour or a day of a zone, or a part of it: from `start` on, up to and without `end`; it is
    called by `first`.

    `first` is the moment when the hour or day began. A day whose midnight is repeated has two
    parts.
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
    """Return the zone called `name`. Raises ValueError where there is none."""
    if name not in names():  # which also keeps paths out
        raise ValueError(name)
    with (resources.files("tzdata") / "zoneinfo" / name).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def written(moment: datetime, zone: ZoneInfo) -> str:
    """Return `moment` as the API writes it: in UTC with a Z, elsewhere by the zone's clock with its
    offset."""
    text = moment.astimezone(zone).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z") if zone.key == "UTC" else text


def periods_around(zone: ZoneInfo, unit: str, cells: Sequence[datetime]) -> list[Period]:
    """Return the hours or days of `zone`, in the order of time, that overlap one of the `cells`.

    A cell is an hour or a day of UTC, named by its start; `cells` are in the order of time.
    """
    length = timedelta(seconds=LENGTH[unit])
    cells = [cell for cell in cells if _EARLIEST < cell < _LATEST]
    found: list[Period] = []
    for start, end in _stretches(cells, length, _REACH[unit]):
        for period in _periods(zone, unit, start, end):
            place = bisect_left(cells, period.end)
            if place and cells[place - 1] + length > period.start:
                found.append(period)
    return found


def _stretches(
    cells: Sequence[datetime], length: timedelta, reach: timedelta
) -> Iterator[tuple[datetime, datetime]]:
    """Return the time of the cells and `reach` around them, as stretches that do not touch."""
    start = end = None
    for cell in cells:
        if end is None or start is None:
            start = cell - reach
        elif cell - reach > end:
            yield start, end
            start = cell - reach
        end = cell + length + reach
    if start is not None and end is not None:
        yield start, end


def _periods(zone: ZoneInfo, unit: str, start: datetime, end: datetime) -> Iterator[Period]:
    """Return the hours or days from `start` to `end`, the first and the last of which may be
    cut."""
    begun: dict[object, datetime] = {}
    label, since = None, start
    for piece, clock, offset in _pieces(zone, LENGTH[unit], start, end):
        following = (clock, offset) if unit == "hour" else clock
        if following == label:
            continue
        if label is not None:
            yield Period(begun[label], since, piece)
        label, since = following, piece
        begun.setdefault(label, piece)
    if label is not None:
        yield Period(begun[label], since, end)


def _pieces(
    zone: ZoneInfo, length: int, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Return where an hour or day begins, or the offset changes: when, which the clock then shows,
    and its offset."""
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
    """Return the time from `start` to `end` as stretches in which the offset from UTC is the
    same."""
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
    """Return the moment when the offset that `low` still has changes to that of `high`."""
    before = _offset(zone, low)
    while high - low > _SECOND:
        middle = low + (high - low) // _SECOND // 2 * _SECOND
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return high


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
