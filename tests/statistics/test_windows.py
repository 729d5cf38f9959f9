"""Division of windows into spans and edges."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.statistics.windows import (
    DAY,
    EPOCH,
    HOUR,
    MINUTE,
    TEN_MINUTES,
    Bound,
    TotalsSpan,
    WindowCover,
    cover,
)

GRAINS = (DAY, HOUR, TEN_MINUTES, MINUTE)
LENGTH = {grain: timedelta(seconds=grain) for grain in GRAINS}
LOW, HIGH = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)

Piece = tuple[Bound, Bound]


def anywhere() -> st.SearchStrategy[datetime]:
    """Return moments, some of them on or next to the start of an hour or day."""
    free = st.timedeltas(timedelta(days=-25_000), timedelta(days=50_000)).map(
        lambda since: EPOCH + since
    )
    near = st.builds(
        lambda grain, number, micros: (
            EPOCH + timedelta(seconds=grain * number, microseconds=micros)
        ),
        st.sampled_from(GRAINS),
        st.integers(-30_000, 30_000),
        st.sampled_from((-1, 0, 0, 0, 1, 1000)),
    )
    return free | near


def grains() -> st.SearchStrategy[tuple[int, ...]]:
    """Return a subset of the grains, the longest first."""
    some = st.sets(st.sampled_from(GRAINS), min_size=1)
    return some.map(lambda chosen: tuple(sorted(chosen, reverse=True)))


@st.composite
def windows(draw: st.DrawFn) -> tuple[datetime, datetime]:
    """Return windows that are not empty, most of them a few days long."""
    start = draw(anywhere())
    span = st.timedeltas(timedelta(microseconds=1), timedelta(days=4))
    end = draw(anywhere() | span.map(lambda length: start + length))
    assume(start != end)
    return min(start, end), max(start, end)


def pieces(covered: WindowCover) -> list[Piece]:
    """Return spans and edges in ascending order of time."""
    every: list[Piece] = [(span.start, span.end) for span in covered.spans]
    every += covered.edges
    return sorted(every, key=lambda piece: LOW if piece[0] is None else piece[0])


def holds_a_whole(grain: int, start: datetime, end: datetime) -> bool:
    """Return whether a whole row of the grain lies between the two moments."""
    length = LENGTH[grain]
    first = start + (EPOCH - start) % length
    return first + length <= end


def left_by(covered: WindowCover, window: tuple[datetime, datetime], grain: int) -> list[Piece]:
    """Return the parts of the window that spans of the grain or a longer one do not cover."""
    inner = [span for span in covered.spans if span.grain >= grain]
    return [(window[0], inner[0].start), (inner[-1].end, window[1])] if inner else [window]


def assert_is_aligned(span: TotalsSpan) -> None:
    for moment in (span.start, span.end):
        assert moment is None or (moment - EPOCH) % LENGTH[span.grain] == timedelta(0)


@given(windows(), grains())
@example((EPOCH, EPOCH + timedelta(microseconds=1)), GRAINS)
@example((EPOCH - timedelta(microseconds=1), EPOCH + timedelta(microseconds=1)), GRAINS)
@example((EPOCH, EPOCH + timedelta(days=1)), GRAINS)
@example((EPOCH + timedelta(microseconds=1), EPOCH + timedelta(days=3, microseconds=-1)), GRAINS)
def test_spans_and_edges_cover_the_window_once(
    window: tuple[datetime, datetime], some: tuple[int, ...]
) -> None:
    start, end = window
    every = pieces(cover(start, end, some))
    assert every[0][0] == start
    assert every[-1][1] == end
    for (_, before), (after, _) in pairwise(every):
        assert before == after
    for low, high in every:
        assert low is not None
        assert high is not None
        assert low < high


@given(windows(), grains())
def test_spans_are_aligned_adjacent_and_ordered(
    window: tuple[datetime, datetime], some: tuple[int, ...]
) -> None:
    covered = cover(*window, some)
    for span in covered.spans:
        assert span.grain in some
        assert_is_aligned(span)
    for before, after in pairwise(covered.spans):
        assert before.end == after.start
        assert before.grain != after.grain
    if covered.spans:
        assert covered.counted == (covered.spans[0].start, covered.spans[-1].end)
    else:
        assert covered.counted is None


@given(windows(), grains())
def test_grains_grow_towards_the_middle(
    window: tuple[datetime, datetime], some: tuple[int, ...]
) -> None:
    order = [span.grain for span in cover(*window, some).spans]
    peak = order.index(max(order)) if order else 0
    assert order[: peak + 1] == sorted(set(order[: peak + 1]))
    assert order[peak:] == sorted(set(order[peak:]), reverse=True)


@given(windows(), grains())
def test_largest_fitting_grain_is_used(
    window: tuple[datetime, datetime], some: tuple[int, ...]
) -> None:
    covered = cover(*window, some)
    for grain in some:
        for low, high in left_by(covered, window, grain):
            assert low is not None
            assert high is not None
            assert not holds_a_whole(grain, low, high)


@given(windows(), grains())
def test_at_most_two_short_edges(window: tuple[datetime, datetime], some: tuple[int, ...]) -> None:
    covered = cover(*window, some)
    assert len(covered.edges) <= 2
    if covered.spans:
        assert all(high - low < LENGTH[some[-1]] for low, high in covered.edges)
    else:  # no row fits into the window
        assert covered.edges == (window,)


@given(anywhere(), grains())
def test_unbounded_end_uses_the_largest_grain(moment: datetime, some: tuple[int, ...]) -> None:
    for covered, outer in ((cover(moment, None, some), -1), (cover(None, moment, some), 0)):
        every = pieces(covered)
        assert covered.spans[outer].grain == some[0]
        assert (every[-1][1] if outer else every[0][0]) is None
        assert (every[0][0] if outer else every[-1][1]) == moment
        assert len(covered.edges) <= 1
        for span in covered.spans:
            assert_is_aligned(span)
        for (_, before), (after, _) in pairwise(every):
            assert before == after is not None


@given(grains())
def test_all_time_is_one_span(some: tuple[int, ...]) -> None:
    assert cover(None, None, some) == WindowCover((TotalsSpan(some[0], None, None),), ())


@given(anywhere(), st.timedeltas(timedelta(0), timedelta(days=3)), grains())
def test_empty_window_has_no_spans(start: datetime, back: timedelta, some: tuple[int, ...]) -> None:
    assert cover(start, start - back, some) == WindowCover((), ())


def test_window_of_days_hours_and_minutes() -> None:
    def at(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
        return datetime(2024, 1, day, hour, minute, second, tzinfo=UTC)

    covered = cover(at(1, 21, 38, 30), at(4, 1, 21, 1), GRAINS)
    assert covered.spans == (
        TotalsSpan(MINUTE, at(1, 21, 39), at(1, 21, 40)),
        TotalsSpan(TEN_MINUTES, at(1, 21, 40), at(1, 22)),
        TotalsSpan(HOUR, at(1, 22), at(2)),
        TotalsSpan(DAY, at(2), at(4)),
        TotalsSpan(HOUR, at(4), at(4, 1)),
        TotalsSpan(TEN_MINUTES, at(4, 1), at(4, 1, 20)),
        TotalsSpan(MINUTE, at(4, 1, 20), at(4, 1, 21)),
    )
    assert covered.edges == ((at(1, 21, 38, 30), at(1, 21, 39)), (at(4, 1, 21), at(4, 1, 21, 1)))


@pytest.mark.parametrize(
    "window",
    [
        (LOW, HIGH),
        (LOW, LOW + timedelta(microseconds=1)),
        (HIGH - timedelta(hours=30), HIGH),
        (None, HIGH),
        (LOW, None),
        (None, LOW),
    ],
)
def test_ends_of_the_calendar(window: Piece) -> None:
    for some in (GRAINS, (DAY, HOUR), (MINUTE,)):
        every = pieces(cover(*window, some))
        assert (every[0][0], every[-1][1]) == window
