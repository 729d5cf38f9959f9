"""Reads the figures of a window from the running totals and the events."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from app import database
from app.database import Statement, tenant_scope
from app.statistics import time_zones
from app.statistics.contributions import JOIN_EVENT, JOIN_PREVIOUS_EVENT
from app.statistics.figures_sql import GROUPS, ROWS_READ, FiguresSQL, matches
from app.statistics.measures import MAX_GROUPS, STATES
from app.statistics.models import ALL_TIME
from app.statistics.periods import KeptGrains, cover_periods, cover_window
from app.statistics.time_zones import UNITS
from app.statistics.windows import Bound, TotalsSpan, WindowCover

_READ = {
    (group, rows): FiguresSQL(group, rows).statement()
    for group in (None, *GROUPS)
    for rows in ROWS_READ
}

JOBS_BY_STATUS = Statement(
    "jobs_by_status",
    promise="The number of jobs in each status, by the totals and the changes not counted yet.",
    sql=f"""
    SELECT s.status, sum(s.jobs)::bigint FROM (
        SELECT v.status, v.jobs FROM job_totals t
        CROSS JOIN LATERAL (
            VALUES {", ".join(f"('{status}', t.{status})" for status in STATES)}
        ) AS v (status, jobs)
        WHERE t.grain = {ALL_TIME} AND t.domain = ''
        UNION ALL SELECT e.new_status, 1
            FROM uncounted_events u JOIN job_events e USING (job_id, seq)
        UNION ALL SELECT e.old_status, -1
            FROM uncounted_events u JOIN job_events e USING (job_id, seq)
            WHERE e.previous_seq IS NOT NULL
    ) AS s GROUP BY s.status
    """,
)

_HOURS_AROUND_NOW = 24
"""Hours before and after now that are always read: events may still arrive."""

_MAX_UTC_PERIODS = 3 * (MAX_GROUPS + 2) + 2 * _HOURS_AROUND_NOW
"""Enough hours or days of UTC for MAX_GROUPS of a zone: each of these overlaps at most three."""


def _active_periods(unit: str, rows: str) -> Statement:
    return Statement(
        f"{unit}s_of_{rows}_with_events",
        promise="The time since which totals of quarter hours are kept, and the newest `most`"
        " hours or days of UTC in the window that have events or may get some before the"
        " figures are read.",
        sql=f"""
        SELECT (SELECT m.at FROM statistics_marks m WHERE m.name = 'quarters'), ARRAY(
            SELECT date_bin('1 {unit}', f.at, timestamptz 'epoch') FROM (
                (SELECT DISTINCT t.start AS at FROM job_totals t
                WHERE t.grain = {UNITS[unit]} AND {ROWS_READ[rows]} AND {matches("t")}
                    AND t.start > %(start)s::timestamptz - interval '1 {unit}'
                    AND t.start < %(end)s::timestamptz
                ORDER BY t.start DESC LIMIT (SELECT %(most)s::int))
                UNION ALL SELECT e.at FROM uncounted_events u {JOIN_EVENT}
                UNION ALL SELECT p.at FROM uncounted_events u {JOIN_EVENT} {JOIN_PREVIOUS_EVENT}
                UNION ALL SELECT now() + h * interval '1 hour'
                    FROM generate_series(-{_HOURS_AROUND_NOW}, {_HOURS_AROUND_NOW}) AS h
            ) AS f
            WHERE f.at > %(start)s::timestamptz - interval '1 {unit}'
                AND f.at < %(end)s::timestamptz
            GROUP BY 1 ORDER BY 1 DESC LIMIT (SELECT %(most)s::int)
        )
        """,
    )


_ACTIVE_PERIODS = {
    (unit, rows): _active_periods(unit, rows) for unit in UNITS for rows in ROWS_READ
}


class JobFigures(NamedTuple):
    """The figures of a group of jobs.

    Attributes:
        key: The group, for hours and days the start of the period; None for all jobs together.
        measures: The columns of the totals, and the `total` of jobs.
        p50: The median duration of completed jobs, in seconds.
        p95: The 95th percentile of these durations, in seconds.
        errors: The most frequent error patterns, each with pattern, count and job_id.
        other_errors: The number of failures with other patterns.
    """

    key: str | datetime | None
    measures: Mapping[str, Any]
    p50: float | None
    p95: float | None
    errors: Sequence[Mapping[str, Any]] | None
    other_errors: int


class StatisticsFilter(NamedTuple):
    """Filters of the jobs, and the group of the figures.

    Attributes:
        customer: Only jobs of this customer.
        domain: Only jobs of this domain.
        job_type: Only jobs of this type.
        group: One of `GROUPS`, or None.
        zone: The time zone of the hours or days.
    """

    customer: UUID | None = None
    domain: str | None = None
    job_type: str | None = None
    group: str | None = None
    zone: ZoneInfo | None = None

    @property
    def rows(self) -> str:
        """The rows of totals to read, one of `ROWS_READ`."""
        if self.domain is not None:
            return "domain"
        needs_kinds = (
            self.customer
            or tenant_scope.customer()
            or self.job_type
            or self.group in ("domain", "job_type")
        )
        return "kinds" if needs_kinds else "all"

    @property
    def parameters(self) -> dict[str, str | None]:
        """The filters as parameters of the statements."""
        return {
            "customer": None if self.customer is None else str(self.customer),
            "domain": self.domain,
            "job_type": self.job_type,
        }


def read(start: Bound, end: Bound, wanted: StatisticsFilter) -> list[JobFigures]:
    """Return the figures of all jobs, then those of each group, at most MAX_GROUPS + 1 groups.

    Raises DatabaseFailure.
    """
    if wanted.group in UNITS:
        return _read_by_time(start, end, wanted, wanted.group)
    rows = wanted.rows
    window = cover_window(start, end, KeptGrains(rows != "all"))
    parameters = {**wanted.parameters, **_window_parameters(window, ())}
    return [JobFigures(*row) for row in database.run(_READ[wanted.group, rows], parameters)]


def _read_by_time(
    start: Bound, end: Bound, wanted: StatisticsFilter, unit: str
) -> list[JobFigures]:
    rows, zone = wanted.rows, wanted.zone or time_zones.load("UTC")
    bounds = {"start": _low(start), "end": _high(end), "most": _MAX_UTC_PERIODS}
    found = database.run(_ACTIVE_PERIODS[unit, rows], {**wanted.parameters, **bounds})
    quarters_since, utc_periods = found[0]
    grains = KeptGrains(rows != "all", quarters_since)
    window = cover_window(start, end, grains)
    totals = cover_periods(zone, unit, utc_periods, _MAX_UTC_PERIODS, window, grains)
    parameters = {
        **wanted.parameters,
        **_window_parameters(window, totals.spans),
        "period_places": [place for place, _, _ in totals.periods],
        "period_starts": database.array(start.isoformat() for _, start, _ in totals.periods),
        "period_ends": database.array(end.isoformat() for _, _, end in totals.periods),
    }
    return [
        JobFigures(None if place is None else totals.firsts[place], *figures)
        for place, *figures in database.run(_READ[unit, rows], parameters)
    ]


def _window_parameters(
    window: WindowCover, periods: Sequence[tuple[int, TotalsSpan]]
) -> dict[str, Any]:
    """Return a window, and the spans of its hours or days, as parameters."""
    counted = window.counted
    of_window = [TotalsSpan(ALL_TIME, None, None)] if counted == (None, None) else window.spans
    spans: list[tuple[int | None, TotalsSpan]] = [*((None, span) for span in of_window), *periods]
    parameters: dict[str, Any] = {
        "grains": [span.grain for _, span in spans],
        "starts": database.array(_low(span.start) for _, span in spans),
        "ends": database.array(_high(span.end) for _, span in spans),
        "places": [place for place, _ in spans],
        "counts": counted is not None,
        "counted_from": _low(counted[0]) if counted else None,
        "counted_to": _high(counted[1]) if counted else None,
    }
    for number, (low, high) in enumerate([*window.edges, (None, None), (None, None)][:2], 1):
        parameters[f"edge_{number}_start"] = low and low.isoformat()
        parameters[f"edge_{number}_end"] = high and high.isoformat()
    return parameters


def _low(bound: Bound) -> str:
    return "-infinity" if bound is None else bound.isoformat()


def _high(bound: Bound) -> str:
    return "infinity" if bound is None else bound.isoformat()


def jobs_by_status() -> dict[str, int]:
    """Return the number of jobs in each status. Raises DatabaseFailure."""
    return {**dict.fromkeys(STATES, 0), **dict(database.run(JOBS_BY_STATUS, {}))}
