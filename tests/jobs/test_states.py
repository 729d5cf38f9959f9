"""The rules of a job's life, against a table written by hand."""

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


def test_the_statuses_are_the_five_of_the_table() -> None:
    assert {str(status) for status in Status} == set(TABLE)


@pytest.mark.parametrize(("old", "new"), list(product(TABLE, TABLE)))
def test_a_status_may_follow_another_exactly_where_the_table_says_so(old: str, new: str) -> None:
    assert (Status(new) in TRANSITIONS[Status(old)]) is (new in TABLE[old])


@pytest.mark.parametrize("status", TABLE)
def test_no_status_leads_to_itself_or_names_a_successor_twice(status: str) -> None:
    following = TRANSITIONS[Status(status)]
    assert status not in following
    assert len(set(following)) == len(following)


@given(statuses, statuses)
def test_sources_is_the_inverse_of_the_transitions(old: Status, new: Status) -> None:
    assert (old in sources(new)) is (new in TRANSITIONS[old])


@given(statuses)
def test_sources_names_each_status_once(target: Status) -> None:
    assert len(set(sources(target))) == len(sources(target))


def test_final_is_what_nothing_follows() -> None:
    assert set(FINAL) == {"completed", "cancelled"}


@given(st.sampled_from(FINAL), counts, limits)
def test_nothing_leads_out_of_a_final_status_whatever_the_retries(
    status: Status, count: int, limit: int
) -> None:
    assert allowed_transitions(status, count, limit) == ()


def test_an_attempt_is_over_when_it_completed_failed_or_was_cancelled() -> None:
    assert set(ENDED) == {"completed", "failed", "cancelled"}


@given(counts, limits)
def test_a_retry_is_left_while_fewer_were_made_than_allowed(count: int, limit: int) -> None:
    assert retries_left(count, limit) is (count < limit)


@given(st.integers(min_value=0, max_value=100))
def test_the_retry_that_reaches_the_limit_is_the_last(limit: int) -> None:
    assert retries_left(limit - 1, limit)
    assert not retries_left(limit, limit)
    assert not retries_left(limit + 1, limit)


@given(statuses, counts, limits)
def test_allowed_transitions_are_the_tables_less_a_retry_that_is_used_up(
    status: Status, count: int, limit: int
) -> None:
    expected = TABLE[status] - ({"pending"} if count >= limit else set())
    assert set(allowed_transitions(status, count, limit)) == expected


@given(statuses, counts, limits)
def test_allowed_transitions_keep_the_order_of_the_transitions(
    status: Status, count: int, limit: int
) -> None:
    allowed = allowed_transitions(status, count, limit)
    assert allowed == tuple(target for target in TRANSITIONS[status] if target in allowed)


@given(counts, limits)
def test_used_up_retries_take_pending_away_and_nothing_else(count: int, limit: int) -> None:
    assert set(allowed_transitions(Status.FAILED, count, limit)) - {"pending"} == {"cancelled"}


@given(st.lists(statuses, max_size=30), st.integers(min_value=0, max_value=5))
def test_every_walk_ends_as_soon_as_the_job_is_final(wishes: list[Status], limit: int) -> None:
    current, retries, was_final = Status.PENDING, 0, False
    for wish in wishes:
        if wish in allowed_transitions(current, retries, limit):
            assert not was_final
            retries += current is Status.FAILED and wish is Status.PENDING
            current = wish
        was_final = current in FINAL
    assert retries <= limit


def test_every_status_can_be_reached_from_pending() -> None:
    reached, todo = {Status.PENDING}, [Status.PENDING]
    while todo:
        new = set(TRANSITIONS[todo.pop()]) - reached
        reached |= new
        todo += new
    assert reached == set(Status)
