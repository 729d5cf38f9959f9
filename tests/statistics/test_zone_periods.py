"""Hours and days of time zones as spans of UTC, compared with each minute's local time."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.statistics import time_zones
from app.statistics.time_zones import UNITS, ZonePeriod, format_in_zone, periods_around
from app.statistics.windows import floor

MINUTE = timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


CHANGES = (
    ("Europe/Berlin", at("2024-03-31T01:00")),
    ("Europe/Berlin", at("2024-10-27T01:00")),
    ("America/New_York", at("2024-11-03T06:00")),
    ("Asia/Kolkata", at("2024-05-01T18:30")),
    ("Asia/Kathmandu", at("2024-05-01T18:15")),
    ("Pacific/Chatham", at("2024-04-06T14:00")),
    ("Australia/Lord_Howe", at("2024-04-06T15:00")),
    ("Australia/Lord_Howe", at("2024-10-05T15:30")),
    ("America/Sao_Paulo", at("2018-11-04T03:00")),
    ("America/Sao_Paulo", at("2019-02-17T02:00")),
    ("Asia/Beirut", at("2024-03-30T22:00")),
    ("Asia/Beirut", at("2024-10-26T21:00")),
    ("Africa/Cairo", at("2024-04-25T22:00")),
    ("Africa/Cairo", at("2024-10-31T21:00")),
    ("America/Havana", at("2024-11-03T05:00")),
    ("America/St_Johns", at("2009-11-01T02:31")),
    ("Pacific/Apia", at("2011-12-30T10:00")),
)


def moments() -> st.SearchStrategy[datetime]:
    return st.timedeltas(timedelta(0), timedelta(days=365 * 62)).map(
        lambda since: at("1975-01-01T00:00") + since
    )


def label(zone: ZoneInfo, unit: str, moment: datetime) -> object:
    """Return a value that differs between any two hours or days of the zone."""
    clock = moment.astimezone(zone)
    if unit == "day":
        return clock.date()
    return clock.replace(minute=0, second=0, microsecond=0, tzinfo=None), clock.utcoffset()


def around(zone: ZoneInfo, unit: str, moment: datetime) -> list[ZonePeriod]:
    return periods_around(zone, unit, [floor(moment, UNITS[unit])])


def assert_matches_local_time(zone: ZoneInfo, unit: str, moment: datetime) -> None:
    """Assert that every minute near `moment` is in the period of its local time."""
    cell = floor(moment, UNITS[unit])
    periods = around(zone, unit, moment)
    for before, after in pairwise(periods):
        assert before.end == after.start
    assert periods[0].start <= cell
    assert periods[-1].end >= cell + timedelta(seconds=UNITS[unit])
    for period in periods:
        assert label(zone, unit, period.first) == label(zone, unit, period.start)
        assert label(zone, unit, period.first) != label(
            zone, unit, period.first - timedelta(microseconds=1)
        )
        minute = period.start
        while minute < period.end:
            assert label(zone, unit, minute) == label(zone, unit, period.start)
            minute += MINUTE
        assert label(zone, unit, period.end) != label(zone, unit, period.start)


@given(st.sampled_from(sorted(time_zones.names())), st.sampled_from(("hour", "day")), moments())
@example("Pacific/Apia", "day", datetime(2011, 12, 30, tzinfo=UTC))
@example("America/St_Johns", "day", datetime(2009, 11, 1, tzinfo=UTC))
def test_every_minute_is_in_its_local_period(name: str, unit: str, moment: datetime) -> None:
    assert_matches_local_time(time_zones.load(name), unit, moment)


@pytest.mark.parametrize(("name", "change"), CHANGES)
@pytest.mark.parametrize("unit", ["hour", "day"])
def test_periods_follow_clock_changes(name: str, change: datetime, unit: str) -> None:
    for hours in (-25, -1, 0, 1, 25):
        assert_matches_local_time(time_zones.load(name), unit, change + timedelta(hours=hours))


@pytest.mark.parametrize(
    ("name", "day", "first", "hours"),
    [
        ("Europe/Berlin", at("2024-03-31T12:00"), "2024-03-31T00:00:00.000+01:00", 23),
        ("Europe/Berlin", at("2024-10-27T12:00"), "2024-10-27T00:00:00.000+02:00", 25),
        ("Asia/Kolkata", at("2024-05-01T12:00"), "2024-05-01T00:00:00.000+05:30", 24),
        ("Asia/Kathmandu", at("2024-05-01T12:00"), "2024-05-01T00:00:00.000+05:45", 24),
        ("Australia/Lord_Howe", at("2024-04-07T00:00"), "2024-04-07T00:00:00.000+11:00", 24.5),
        ("Australia/Lord_Howe", at("2024-10-06T00:00"), "2024-10-06T00:00:00.000+10:30", 23.5),
        ("America/Sao_Paulo", at("2018-11-04T12:00"), "2018-11-04T01:00:00.000-02:00", 23),
        ("Asia/Beirut", at("2024-03-31T12:00"), "2024-03-31T01:00:00.000+03:00", 23),
        ("Africa/Cairo", at("2024-04-26T12:00"), "2024-04-26T01:00:00.000+03:00", 23),
        ("Pacific/Apia", at("2011-12-31T09:00"), "2011-12-31T00:00:00.000+14:00", 24),
        ("UTC", at("2024-03-31T12:00"), "2024-03-31T00:00:00.000Z", 24),
    ],
)
def test_start_and_length_of_known_days(name: str, day: datetime, first: str, hours: float) -> None:
    zone, moment = time_zones.load(name), day
    (period,) = [
        found for found in around(zone, "day", moment) if found.start <= moment < found.end
    ]
    assert format_in_zone(period.first, zone) == first
    assert period.end - period.start == timedelta(hours=hours)


def test_skipped_day_does_not_exist() -> None:
    zone = time_zones.load("Pacific/Apia")
    found = periods_around(
        zone, "day", [datetime(2011, 12, day, tzinfo=UTC) for day in (29, 30, 31)]
    )
    assert [format_in_zone(period.first, zone)[:10] for period in found] == [
        "2011-12-28",
        "2011-12-29",
        "2011-12-31",
        "2012-01-01",
    ]


def test_only_periods_near_events_are_returned() -> None:
    cells = [datetime(year, 6, 1, tzinfo=UTC) for year in (1990, 2024)]
    found = periods_around(time_zones.load("Asia/Tokyo"), "day", cells)
    assert [period.first.year for period in found] == [1990, 1990, 2024, 2024]


@pytest.mark.parametrize(
    "cell", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
)
def test_ends_of_the_calendar_have_no_periods(cell: datetime) -> None:
    for unit in UNITS:
        assert periods_around(time_zones.load("Pacific/Kiritimati"), unit, [cell]) == []


def test_no_zone_changes_twice_within_a_step() -> None:
    step = timedelta(hours=1)
    for name in (
        "Africa/Casablanca",
        "Africa/El_Aaiun",
        "Africa/Cairo",
        "America/Argentina/San_Luis",
        "Asia/Gaza",
    ):
        zone = time_zones.load(name)
        hour, changed, offset = at("2000-01-01T00:00"), [], None
        while hour.year < 2030:
            if (following := hour.astimezone(zone).utcoffset()) != offset:
                changed.append(hour)
                offset = following
            hour += step
        assert min(after - before for before, after in pairwise(changed)) > time_zones._STEP


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Europe/Atlantis",
        "europe/berlin",
        "../zones",
        "/etc/passwd",
        "Europe/../UTC",
        "+01:00",
        "zone.tab",
        "\0",
    ],
)
def test_unknown_zone_name_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(name) or "^$"):
        time_zones.load(name)


def test_rules_of_the_host_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoneinfo.TZPATH", ())
    monkeypatch.setenv("PYTHONTZPATH", "")
    time_zones.load.cache_clear()
    moment = datetime(2024, 7, 1, tzinfo=UTC)
    assert (
        format_in_zone(moment, time_zones.load("Europe/Berlin")) == "2024-07-01T02:00:00.000+02:00"
    )
