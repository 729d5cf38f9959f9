"""Hours and days of a time zone, compared with a plain count of the events."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.statistics import time_zones
from support.database import migrate, new_database
from support.factories import new_domain
from support.figures import JOBS, StatisticsApi, statistics_api

SEED = 20241027
SIZE = 1500
MINUTE = timedelta(minutes=1)
STATES = ("pending", "running", "completed", "failed", "cancelled")
DOMAINS = ("a.example", "b.example", "c.example")
TYPES = ("one", "two")
CUSTOMERS = (None, str(UUID(int=1)), str(UUID(int=2)))
ERRORS = ("Blocked", "Timeout", "Not found")

# Times at which the clock of a zone changes or a day is skipped. Jobs are created around them.
CHANGES = (
    "2011-12-30T10:00", "2018-11-04T03:00", "2019-02-17T02:00", "2024-03-31T01:00", "2024-04-06T15:00",
    "2024-04-25T22:00", "2024-10-05T15:30", "2024-10-26T21:00", "2024-10-27T01:00", "2024-10-31T21:00",
)  # fmt: skip
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "America/Sao_Paulo", "Asia/Kolkata",
    "Asia/Kathmandu", "Australia/Lord_Howe", "Australia/Eucla", "Pacific/Chatham", "Pacific/Apia",
    "Pacific/Kiritimati", "Asia/Beirut", "Africa/Cairo", "Africa/Casablanca", "Asia/Tehran", "Etc/GMT+12",
)  # fmt: skip

# Inserts jobs with all their status changes.
STEPS = """
WITH step AS (
    SELECT * FROM jsonb_to_recordset(%(steps)s::jsonb) AS s (job uuid, domain text, job_type text, customer uuid,
        seq int, at timestamptz, old_status text, new_status text, error text, seconds float8, last boolean)
), job AS (
    INSERT INTO scrape_jobs (id, domain_id, domain, job_type, customer_config_id, status, priority, max_retries,
        completed_at, created_at, updated_at, version, status_seq)
    SELECT job, gen_random_uuid(), domain, job_type, customer, new_status, 5, 3,
        CASE WHEN new_status IN ('completed', 'failed') THEN at END, at, at, seq, seq
    FROM step WHERE last
), event AS (
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes, stats, retry_count,
        seconds, error_message, previous_seq)
    SELECT job, seq, at, 'updated', old_status, new_status, 'system', '{}', '{}', 0, seconds, error,
        nullif(seq - 1, 0)
    FROM step
) INSERT INTO uncounted_events (job_id, seq) SELECT job, seq FROM step
"""


@dataclass(frozen=True)
class Step:
    """A status change of a job."""

    job: str
    domain: str
    job_type: str
    customer: str | None
    seq: int
    at: str
    old_status: str | None
    new_status: str
    error: str | None
    seconds: float | None
    last: bool

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.at)


def steps(chance: random.Random, number: int) -> list[Step]:
    """Return the status changes of a job near a change of a clock."""
    change = datetime.fromisoformat(chance.choice(CHANGES)).replace(tzinfo=UTC)
    at = change + timedelta(milliseconds=round(chance.triangular(-60, 60, 0) * 3_600_000))
    if chance.random() < 0.4:  # on the edge of a quarter
        at = at.replace(minute=chance.choice((0, 15, 30, 45)), second=0, microsecond=0)
    kind = (chance.choice(DOMAINS), chance.choice(TYPES), chance.choice(CUSTOMERS))
    path = chance.choice((("pending",), ("pending", "running"), ("pending", "running", "completed"),
                          ("pending", "running", "failed")))  # fmt: skip
    made = []
    for seq, status in enumerate(path, 1):
        ended = status in ("completed", "failed")
        error = chance.choice(ERRORS) if status == "failed" else None
        made.append(
            Step(str(UUID(int=number + 2**64)), *kind, seq, at.isoformat(), path[seq - 2] if seq > 1 else None, status,
                 error, 10.0 if ended else None, seq == len(path))
        )  # fmt: skip
        at += timedelta(milliseconds=round(chance.expovariate(1 / 5) * 3_600_000))
    return made


@dataclass(repr=False)
class World:
    """The service and the status changes of its jobs."""

    api: StatisticsApi
    steps: Sequence[Step]

    def asked(self, query: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None}
        return self.api.ask(given)


@pytest.fixture(scope="module", params=["uncounted", "half", "counted"])
def world(server_url: str, request: pytest.FixtureRequest) -> Iterator[World]:
    chance = random.Random(SEED)
    changes = [step for number in range(SIZE) for step in steps(chance, number)]
    for url in new_database(server_url):
        migrate(url)
        with statistics_api(url, threads=2) as api:
            api.sql(STEPS, {"steps": as_json(changes)})
            api.sql("ANALYZE")
            if request.param == "half":
                assert api.count(len(changes) // 2) == len(changes) // 2
            elif request.param == "counted":
                assert api.count() == len(changes)
            yield World(api, changes)


def as_json(changes: Iterable[Step]) -> str:
    return json.dumps([vars(step) for step in changes])


def label(zone: ZoneInfo, unit: str, moment: datetime) -> object:
    clock = moment.astimezone(zone)
    if unit == "day":
        return clock.date()
    return clock.replace(minute=0, second=0, microsecond=0, tzinfo=None), clock.utcoffset()


_known: dict[tuple[str, str, object], str] = {}


def key(zone: ZoneInfo, unit: str, moment: datetime) -> str:
    """Return the key of the hour or day of `moment`."""
    known = (zone.key, unit, label(zone, unit, moment))
    if known not in _known:
        _known[known] = beginning(zone, unit, moment)
    return _known[known]


def beginning(zone: ZoneInfo, unit: str, moment: datetime) -> str:
    """Return the start of the hour or day of `moment`, searched minute by minute."""
    first = minute = moment.replace(second=0, microsecond=0)
    wanted = label(zone, unit, moment)
    for _ in range((26 if unit == "day" else 2) * 60):
        minute -= MINUTE
        if label(zone, unit, minute) == wanted:
            first = minute
    text = first.astimezone(zone).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z") if zone.key == "UTC" else text


def plain_count(found: Iterable[Step], zone: ZoneInfo, unit: str) -> dict[str, dict[str, Any]]:
    """Return the figures of each hour or day by key."""
    of_label: dict[object, list[Step]] = defaultdict(list)
    for step in found:
        of_label[label(zone, unit, step.moment)].append(step)
    counted = {}
    for group in of_label.values():
        states = Counter(step.new_status for step in group if step.last)
        counted[key(zone, unit, min(step.moment for step in group))] = {
            "by_status": {**dict.fromkeys(STATES, 0), **states},
            "errors": dict(Counter(step.error for step in group if step.error)),
            "mean": 10.0 if any(step.new_status == "completed" for step in group) else None,
        }
    return counted


def shown(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "by_status": figures["by_status"],
        "errors": {error["pattern"]: error["count"] for error in figures["errors"]},
        "mean": figures["completion_seconds"]["mean"],
    }


def windows() -> st.SearchStrategy[tuple[datetime | None, datetime | None]]:
    """Return windows with an edge near a clock change, on a quarter of an hour or elsewhere."""
    edge = st.builds(
        lambda change, minutes, ms: (
            datetime.fromisoformat(change).replace(tzinfo=UTC)
            + timedelta(minutes=15 * minutes, milliseconds=ms)
        ),
        st.sampled_from(CHANGES),
        st.integers(-150, 150),
        st.sampled_from((0, 0, 1, 77_777)),
    )
    length = st.timedeltas(timedelta(minutes=7), timedelta(days=5))
    bounded = st.builds(
        lambda low, long: (low, low + timedelta(seconds=long.total_seconds() // 1)), edge, length
    )
    return bounded | st.tuples(st.none(), edge) | st.tuples(edge, st.none()) | st.just((None, None))


def filters() -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "domain": st.sampled_from(DOMAINS),
            "job_type": st.sampled_from(TYPES),
            "customer_config_id": st.sampled_from([customer for customer in CUSTOMERS if customer]),
        },
    )


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(ZONES), st.sampled_from(("hour", "day")), windows(), filters())
def test_groups_match_a_plain_count_by_zone(
    world: World,
    name: str,
    unit: str,
    window: tuple[datetime | None, datetime | None],
    only: dict[str, str],
) -> None:
    zone = time_zones.load(name)
    low, high = window
    names = {"customer_config_id": "customer"}
    selected = [
        step
        for step in world.steps
        if (low is None or step.moment >= low)
        and (high is None or step.moment < high)
        and all(getattr(step, names.get(field, field)) == value for field, value in only.items())
    ]
    asked = {
        "from": low and low.isoformat(),
        "to": high and high.isoformat(),
        "group_by": unit,
        "timezone": name,
    }
    found = world.asked({**asked, **only})
    expected = plain_count(selected, zone, unit)
    newest = sorted(expected, key=datetime.fromisoformat, reverse=True)[:1000]
    assert found.get("more_groups", False) is (len(expected) > 1000)
    assert {group["key"]: shown(group) for group in found["groups"]} == {
        each: expected[each] for each in newest
    }
    begins = [datetime.fromisoformat(group["key"]) for group in found["groups"]]
    assert begins == sorted(begins, reverse=True)
    assert found["total"] == sum(step.last for step in selected)
    assert shown(found)["errors"] == dict(Counter(step.error for step in selected if step.error))


def test_utc_is_the_default_zone(world: World) -> None:
    for unit in ("hour", "day"):
        assert world.asked({"group_by": unit, "timezone": "UTC"}) == world.asked({"group_by": unit})


@pytest.fixture
def upgraded(server_url: str) -> Iterator[World]:
    """A service whose totals were counted by a release without totals of quarter hours."""
    chance = random.Random(SEED)
    changes = [step for number in range(300) for step in steps(chance, number)]
    for url in new_database(server_url):
        migrate(url)
        with statistics_api(url, threads=1) as api:
            api.sql(STEPS, {"steps": as_json(changes)})
            api.count()
            for table in ("job_totals", "job_duration_totals", "job_error_totals"):
                api.sql(f"DELETE FROM {table} WHERE grain = 900")
            api.sql("UPDATE statistics_marks SET at = now() WHERE name = 'quarters'")
            yield World(api, changes)


def test_whole_hours_are_exact_before_quarters(upgraded: World) -> None:
    for name in ("Europe/Berlin", "Pacific/Apia", "America/Sao_Paulo"):
        found = upgraded.asked({"group_by": "day", "timezone": name, "job_type": "one"})
        selected = [step for step in upgraded.steps if step.job_type == "one"]
        counted = plain_count(selected, time_zones.load(name), "day")
        assert {group["key"]: shown(group) for group in found["groups"]} == counted


@pytest.mark.parametrize("unit", ["hour", "day"])
def test_hours_count_as_a_whole_before_quarters(upgraded: World, unit: str) -> None:
    zone = time_zones.load("Asia/Kolkata")
    found = upgraded.asked({"group_by": unit, "timezone": zone.key, "job_type": "one"})
    selected = [step for step in upgraded.steps if step.job_type == "one"]
    rounded = Counter(
        label(zone, unit, step.moment.replace(minute=0, second=0, microsecond=0))
        for step in selected
        if step.last
    )
    counted = {
        label(zone, unit, datetime.fromisoformat(group["key"])): group["total"]
        for group in found["groups"]
        if group["total"]
    }
    assert counted == rounded
    exact = upgraded.asked({"group_by": unit, "timezone": zone.key})
    expected = plain_count(upgraded.steps, zone, unit)
    assert {group["key"]: shown(group) for group in exact["groups"]} == expected


NO_ZONE = "Invalid timezone: must be an IANA time zone such as Europe/Berlin"
NO_UNIT = "Invalid timezone: must come with group_by=hour or group_by=day"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        *((f"group_by=day&timezone={value}", NO_ZONE) for value in (
            "", "x", "europe/berlin", "%2B01:00", "../../etc/passwd", "/etc/passwd", "Europe/../UTC", "%00", "Europe",
            "zone.tab", "tzdata.zi", "EST5EDT,M3.2.0,M11.1.0", "UTC%0A")),
        ("timezone=Europe/Berlin", NO_UNIT),
        ("timezone=Europe/Berlin&group_by=domain", NO_UNIT),
        ("group_by=day&timezone=UTC&timezone=UTC", "Invalid timezone: must be given once"),
    ],
)  # fmt: skip
def test_invalid_time_zone_is_rejected(client: FlaskClient, query: str, error: str) -> None:
    answer = client.get(f"{JOBS}/stats?{query}")
    assert (answer.status_code, answer.get_json()) == (400, {"success": False, "error": error})


def test_window_of_a_day_in_a_zone(upgraded: World) -> None:
    api, domain = upgraded.api, new_domain()
    for at in (
        "2024-03-30T22:59:59.999",
        "2024-03-30T23:00:00",
        "2024-03-31T21:59:59.999",
        "2024-03-31T22:00:00",
    ):
        api.date(api.create(domain=domain), datetime.fromisoformat(at).replace(tzinfo=UTC))
    asked = {"domain": domain, "group_by": "day", "timezone": "Europe/Berlin"}
    found = api.ask(asked)["groups"]
    assert [(group["key"], group["total"]) for group in found] == [
        ("2024-04-01T00:00:00.000+02:00", 1),
        ("2024-03-31T00:00:00.000+01:00", 2),
        ("2024-03-30T00:00:00.000+01:00", 1),
    ]
    day = api.ask({**asked, "from": found[1]["key"], "to": found[0]["key"]})
    assert (day["total"], [group["key"] for group in day["groups"]]) == (2, [found[1]["key"]])
