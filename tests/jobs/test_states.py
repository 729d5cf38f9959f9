"""The rules of the life cycle, compared with a table written by hand."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.states import (
    ENDED,
    FINAL,
    TRANSITIONS,
    Status,
    allowed_transitions,
    retries_left,
    sources,
)

TABLE = {
    "pending": {"running", "cancelled"},
    "running": {"completed", "failed", "cancelled"},
    "completed": set(),
    "failed": {"pending", "cancelled"},
    "cancelled": set(),
}

statuses = st.sampled_from(Status)
counts = st.integers(min_value=0, max_value=2**31 - 1)
limits = st.integers(min_value=0, max_value=100)


def test_statuses_are_those_of_the_table() -> None:
    assert {str(status) for status in Status} == set(TABLE)


@pytest.mark.parametrize(("old", "new"), list(product(TABLE, TABLE)))
def test_transitions_are_those_of_the_table(old: str, new: str) -> None:
    assert (Status(new) in TRANSITIONS[Status(old)]) is (new in TABLE[old])


@pytest.mark.parametrize("status", TABLE)
def test_no_status_follows_itself_or_twice(status: str) -> None:
    following = TRANSITIONS[Status(status)]
    assert status not in following
    assert len(set(following)) == len(following)


@given(statuses, statuses)
def test_sources_are_the_inverse_of_transitions(old: Status, new: Status) -> None:
    assert (old in sources(new)) is (new in TRANSITIONS[old])


@given(statuses)
def test_sources_contain_each_status_once(target: Status) -> None:
    assert len(set(sources(target))) == len(sources(target))


def test_final_statuses_have_no_following_status() -> None:
    assert set(FINAL) == {"completed", "cancelled"}


@given(st.sampled_from(FINAL), counts, limits)
def test_final_status_allows_no_transition(status: Status, count: int, limit: int) -> None:
    assert allowed_transitions(status, count, limit) == ()


def test_ended_statuses_are_completed_failed_and_cancelled() -> None:
    assert set(ENDED) == {"completed", "failed", "cancelled"}


@given(counts, limits)
def test_retries_are_left_below_max_retries(count: int, limit: int) -> None:
    assert retries_left(count, limit) is (count < limit)


@given(st.integers(min_value=0, max_value=100))
def test_last_retry_reaches_max_retries(limit: int) -> None:
    assert retries_left(limit - 1, limit)
    assert not retries_left(limit, limit)
    assert not retries_left(limit + 1, limit)


@given(statuses, counts, limits)
def test_allowed_transitions_exclude_retry_without_retries_left(
    status: Status, count: int, limit: int
) -> None:
    expected = TABLE[status] - ({"pending"} if count >= limit else set())
    assert set(allowed_transitions(status, count, limit)) == expected


@given(statuses, counts, limits)
def test_allowed_transitions_keep_the_order(status: Status, count: int, limit: int) -> None:
    allowed = allowed_transitions(status, count, limit)
    assert allowed == tuple(target for target in TRANSITIONS[status] if target in allowed)


@given(counts, limits)
def test_used_up_retries_exclude_only_pending(count: int, limit: int) -> None:
    assert set(allowed_transitions(Status.FAILED, count, limit)) - {"pending"} == {"cancelled"}


@given(st.lists(statuses, max_size=30), st.integers(min_value=0, max_value=5))
def test_no_transition_follows_a_final_status(requested: list[Status], limit: int) -> None:
    current, retries, was_final = Status.PENDING, 0, False
    for status in requested:
        if status in allowed_transitions(current, retries, limit):
            assert not was_final
            retries += current is Status.FAILED and status is Status.PENDING
            current = status
        was_final = current in FINAL
    assert retries <= limit


def test_every_status_is_reachable_from_pending() -> None:
    reached, todo = {Status.PENDING}, [Status.PENDING]
    while todo:
        new = set(TRANSITIONS[todo.pop()]) - reached
        reached |= new
        todo += new
    assert reached == set(Status)
