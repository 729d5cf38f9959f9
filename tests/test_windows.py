"""Windows of time as whole hours, days and so on: together they are the window, and nothing else."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.statistics.windows import DAY, EPOCH, HOUR, MINUTE, TEN_MINUTES, Cover, Moment, Span, cover

GRAINS = (DAY, HOUR, TEN_MINUTES, MINUTE)
SHARE_OF_A_GRAIN = {grain: timedelta(seconds=grain) for grain in GRAINS}
LOW, HIGH = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)

Piece = tuple[Moment, Moment]


def anywhere() -> st.SearchStrategy[datetime]:
    """Return moments, some of which lie on or next to the edges of hours and days."""
    free = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
    near = st.builds(
        lambda grain, number, micros: EPOCH + timedelta(seconds=grain * number, microseconds=micros),
        st.sampled_from(GRAINS),
        st.integers(-30_000, 30_000),
        st.sampled_from((-1, 0, 0, 0, 1, 1000)),
    )
    return free | near


def grains() -> st.SearchStrategy[tuple[int, ...]]:
    """Return some of the grains, the largest first."""
    some = st.sets(st.sampled_from(GRAINS), min_size=1)
    return some.map(lambda chosen: tuple(sorted(chosen, reverse=True)))


@st.composite
def windows(draw: st.DrawFn) -> tuple[datetime, datetime]:
    """Return windows of time that are not empty, most of them of some days."""
    start = draw(anywhere())
    span = st.timedeltas(timedelta(microseconds=1), timedelta(days=4))
    end = draw(anywhere() | span.map(lambda length: start + length))
    assume(start != end)
    return min(start, end), max(start, end)


def pieces(covered: Cover) -> list[Piece]:
    """Return spans and edges in the order of time."""
    every: list[Piece] = [(span.start, span.end) for span in covered.spans]
    every += covered.edges
    return sorted(every, key=lambda piece: LOW if piece[0] is None else piece[0])


def holds_a_whole(grain: int, start: datetime, end: datetime) -> bool:
    """Tell whether a row of the grain lies between the two moments, both edges included."""
    length = SHARE_OF_A_GRAIN[grain]
    first = start + (EPOCH - start) % length
    return first + length <= end


def gaps(covered: Cover, start: Moment, end: Moment) -> Iterator[tuple[datetime, datetime]]:
    """Return what of the window is left beside each grain's span and those of larger grains."""
    for grain in dict.fromkeys(span.grain for span in covered.spans):
        larger = [span for span in covered.spans if span.grain > grain]
        low, high = (larger[0].start, larger[-1].end) if larger else (None, None)
        if larger:
            if start is not None and low is not None:
                yield start, low
            if end is not None and high is not None:
                yield high, end


def assert_is_aligned(span: Span) -> None:
    for moment in (span.start, span.end):
        assert moment is None or (moment - EPOCH) % SHARE_OF_A_GRAIN[span.grain] == timedelta(0)


@given(windows(), grains())
@example((EPOCH, EPOCH + timedelta(microseconds=1)), GRAINS)
@example((EPOCH - timedelta(microseconds=1), EPOCH + timedelta(microseconds=1)), GRAINS)
@example((EPOCH, EPOCH + timedelta(days=1)), GRAINS)
@example((EPOCH + timedelta(microseconds=1), EPOCH + timedelta(days=3, microseconds=-1)), GRAINS)
def test_spans_and_edges_are_the_window_exactly_once(window: tuple[datetime, datetime], some: tuple[int, ...]) -> None:
    start, end = window
    every = pieces(cover(start, end, some))
    assert every[0][0] == start
    assert every[-1][1] == end
    for (_, before), (after, _) in zip(every, every[1:], strict=False):
        assert before == after
    for low, high in every:
        assert low is not None
        assert high is not None
        assert low < high


@given(windows(), grains())
def test_spans_are_whole_rows_and_lie_in_the_order_of_time_side_by_side(
    window: tuple[datetime, datetime], some: tuple[int, ...]
) -> None:
    covered = cover(*window, some)
    for span in covered.spans:
        assert span.grain in some
        assert_is_aligned(span)
    for before, after in zip(covered.spans, covered.spans[1:], strict=False):
        assert before.end == after.start
        assert before.grain != after.grain
    if covered.spans:
        assert covered.counted == (covered.spans[0].start, covered.spans[-1].end)
    else:
        assert covered.counted is None


@given(windows(), grains())
def test_the_grains_grow_towards_the_middle_so_that_there_are_few_rows(
    window: tuple[datetime, datetime], some: tuple[int, ...]
) -> None:
    order = [span.grain for span in cover(*window, some).spans]
    peak = order.index(max(order)) if order else 0
    assert order[: peak + 1] == sorted(set(order[: peak + 1]))
    assert order[peak:] == sorted(set(order[peak:]), reverse=True)


@given(windows(), grains())
def test_no_larger_grain_would_have_fitted(window: tuple[datetime, datetime], some: tuple[int, ...]) -> None:
    covered = cover(*window, some)
    for span in covered.spans:
        assert span.start is not None
        assert span.end is not None
        for larger in some:
            if larger > span.grain:
                assert not holds_a_whole(larger, span.start, span.end)
    for left in gaps(covered, *window):
        largest = max(span.grain for span in covered.spans)
        assert not holds_a_whole(largest, *left)


@given(windows(), grains())
def test_there_are_at_most_two_edges_and_no_row_of_the_finest_grain_fits_in_one(
    window: tuple[datetime, datetime], some: tuple[int, ...]
) -> None:
    covered = cover(*window, some)
    assert len(covered.edges) <= 2
    for low, high in covered.edges:
        assert not holds_a_whole(some[-1], low, high)
    if covered.spans:
        assert all(high - low < SHARE_OF_A_GRAIN[some[-1]] for low, high in covered.edges)
    else:
        assert covered.edges == (window,)


@given(anywhere(), grains())
def test_an_open_end_goes_on_for_ever_in_the_largest_grain(moment: datetime, some: tuple[int, ...]) -> None:
    for covered, outer in ((cover(moment, None, some), -1), (cover(None, moment, some), 0)):
        every = pieces(covered)
        assert covered.spans[outer].grain == some[0]
        assert (every[-1][1] if outer else every[0][0]) is None
        assert (every[0][0] if outer else every[-1][1]) == moment
        assert len(covered.edges) <= 1
        for span in covered.spans:
            assert_is_aligned(span)
        for (_, before), (after, _) in zip(every, every[1:], strict=False):
            assert before == after is not None


@given(grains())
def test_all_time_is_one_span_of_the_largest_grain(some: tuple[int, ...]) -> None:
    assert cover(None, None, some) == Cover((Span(some[0], None, None),), ())


@given(anywhere(), st.timedeltas(timedelta(0), timedelta(days=3)), grains())
def test_a_window_that_ends_where_it_begins_or_before_is_empty(
    start: datetime, back: timedelta, some: tuple[int, ...]
) -> None:
    assert cover(start, start - back, some) == Cover((), ())


def test_a_window_is_told_in_days_hours_tens_of_minutes_and_minutes() -> None:
    def at(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
        return datetime(2024, 1, day, hour, minute, second, tzinfo=UTC)

    covered = cover(at(1, 21, 38, 30), at(4, 1, 21, 1), GRAINS)
    assert covered.spans == (
        Span(MINUTE, at(1, 21, 39), at(1, 21, 40)),
        Span(TEN_MINUTES, at(1, 21, 40), at(1, 22)),
        Span(HOUR, at(1, 22), at(2)),
        Span(DAY, at(2), at(4)),
        Span(HOUR, at(4), at(4, 1)),
        Span(TEN_MINUTES, at(4, 1), at(4, 1, 20)),
        Span(MINUTE, at(4, 1, 20), at(4, 1, 21)),
    )
    assert covered.edges == ((at(1, 21, 38, 30), at(1, 21, 39)), (at(4, 1, 21), at(4, 1, 21, 1)))


@pytest.mark.parametrize(
    "window",
    [
        (LOW, HIGH),
        (LOW, LOW + timedelta(microseconds=1)),
        (HIGH - timedelta(microseconds=1), HIGH),
        (HIGH - timedelta(hours=30), HIGH),
        (HIGH, None),
        (None, HIGH),
        (LOW, None),
        (None, LOW),
    ],
)
def test_the_ends_of_the_calendar_can_be_asked_for(window: Piece) -> None:
    for some in (GRAINS, (DAY, HOUR), (MINUTE,)):
        every = pieces(cover(*window, some))
        assert (every[0][0], every[-1][1]) == window
