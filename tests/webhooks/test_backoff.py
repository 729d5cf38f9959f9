"""When a delivery is tried again, and what a try means for its delivery and its endpoint: time and
chance passed in."""

import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks import backoff
from app.webhooks.dispatch_queries import Claimed, Result
from app.webhooks.dispatcher import judge
from app.webhooks.sender import Answer

NOW = datetime(2024, 1, 1, 10, 0, 0, 123_000, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days")
)
WAITS = [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]

GARBAGE = [
    "",
    " ",
    "soon",
    "-1",
    "+5",
    "1.5",
    "1e3",
    "0x10",
    "5 s",
    "5, 6",
    "\u0663",
    "\u00b2",
    "Mon",
    "Mon, 01 Jan",
    "Mon, 99 Jan 2024 00:00:00 GMT",
    "Mon, 01 Foo 2024 00:00:00 GMT",
    "Mon, 01 Jan 2024 25:61:61 GMT",
    "Mon, 01 Jan 99999 00:00:00 GMT",
    "Mon, 01 Jan 2024 00:00:00 +9999",
    f"Mon, 01 Jan 2024 00:00:00 +{'9' * 30}",
    f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT",
    f"Mon, {'9' * 5000} Jan 2024 00:00:00 GMT",
    "2024-01-01T11:00:00Z",
    ", , , ,",
    ":::::",
]


def waits(tries: int, chance: float, retry_after: timedelta | None = None) -> timedelta:
    again = backoff.next_try_at(NOW, tries, chance, retry_after)
    assert again is not None
    return again - NOW


def answered(
    status: int | None,
    *,
    retry_after: str | None = None,
    error: str | None = None,
    body: str = "",
    seconds: float = 0.1,
) -> Answer:
    return Answer(status, body, error, retry_after, seconds)


def claimed(failures: int = 0, failing_since: datetime | None = None) -> Claimed:
    ids = (uuid.uuid4(), 1, uuid.uuid4(), uuid.uuid4())
    return Claimed(
        *ids,
        "{}",
        failures,
        "https://example.com/hook",
        "clear:whsec_",
        None,
        None,
        failing_since,
        0.5,
    )


def judged(
    answer: Answer,
    failures: int = 0,
    failing_since: datetime | None = None,
    chance: float = 0.5,
    now: datetime = NOW,
) -> Result:
    return judge(claimed(failures, failing_since), answer, now, chance)


@pytest.mark.parametrize(("tries", "wait"), list(enumerate(WAITS, 1)))
def test_each_failed_try_is_followed_by_its_wait_give_or_take_a_tenth(
    tries: int, wait: timedelta
) -> None:
    assert waits(tries, 0.5) == wait
    assert waits(tries, 0.0) == wait * 0.9
    assert waits(tries, 1.0) == wait * 1.1


@given(st.integers(1, 7), st.floats(0, 1))
def test_no_chance_leads_out_of_the_tenth(tries: int, chance: float) -> None:
    wait = WAITS[tries - 1]
    assert wait * 0.9 <= waits(tries, chance) <= wait * 1.1


@pytest.mark.parametrize("tries", [8, 9, 100])
@pytest.mark.parametrize("retry_after", [None, timedelta(0), HOUR])
def test_after_the_eighth_try_there_is_no_other(tries: int, retry_after: timedelta | None) -> None:
    assert backoff.next_try_at(NOW, tries, 0.5, retry_after) is None


@pytest.mark.parametrize(
    ("tries", "asked", "expected"),
    [
        (1, timedelta(0), 5 * SECOND),
        (1, 4 * SECOND, 5 * SECOND),
        (1, 6 * SECOND, 6 * SECOND),
        (1, 20 * MINUTE, 20 * MINUTE),
        (1, HOUR, HOUR),
        (1, HOUR + SECOND, HOUR),
        (1, 365 * DAY, HOUR),
        (2, MINUTE, 5 * MINUTE),
        (2, 6 * MINUTE, 6 * MINUTE),
        (3, DAY, HOUR),
        (4, 3 * HOUR, 2 * HOUR),
        (7, HOUR, 10 * HOUR),
    ],
)
def test_a_wait_that_is_asked_for_is_kept_up_to_an_hour_and_never_shortens_the_schedule(
    tries: int, asked: timedelta, expected: timedelta
) -> None:
    assert waits(tries, 0.5, asked) == expected


@given(st.integers(1, 7), st.floats(0, 1), st.timedeltas(timedelta(0), 10 * DAY))
def test_nothing_that_is_asked_for_brings_a_try_earlier(
    tries: int, chance: float, asked: timedelta
) -> None:
    assert waits(tries, chance) <= waits(tries, chance, asked) <= max(waits(tries, chance), HOUR)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("1", 1),
        (" 120 ", 120),
        ("3600", 3600),
        ("86400", 86400),
        ("0005", 5),
        ("0000000000007", 7),
    ],
)
def test_retry_after_is_read_in_seconds(header: str, seconds: int) -> None:
    assert backoff.parse_retry_after(header, NOW) == seconds * SECOND


@pytest.mark.parametrize("header", ["9" * 10, "9" * 30, "9" * 5000])
def test_a_number_beyond_all_bounds_asks_for_longer_than_is_waited(header: str) -> None:
    asked = backoff.parse_retry_after(header, NOW)
    assert asked is not None
    assert waits(1, 0.5, asked) == HOUR


@pytest.mark.parametrize("wait", [SECOND, MINUTE, 59 * MINUTE, 3 * DAY])
def test_retry_after_is_read_as_a_date(wait: timedelta) -> None:
    now = NOW.replace(microsecond=0)
    assert backoff.parse_retry_after(format_datetime(now + wait, usegmt=True), now) == wait


@pytest.mark.parametrize(
    "header",
    [
        "Mon, 01 Jan 2024 10:10:00 GMT",
        "Mon, 01 Jan 2024 10:10:00 +0000",
        "Mon, 01 Jan 2024 11:10:00 +0100",
        "Mon, 01 Jan 2024 10:10:00 -0000",
        "Mon, 01 Jan 2024 10:10:00",
        "Monday, 01-Jan-24 10:10:00 GMT",
        "Mon Jan  1 10:10:00 2024",
    ],
)
def test_every_form_of_an_http_date_is_read(header: str) -> None:
    assert backoff.parse_retry_after(header, NOW.replace(microsecond=0)) == 10 * MINUTE


def test_a_date_that_is_past_asks_for_no_wait() -> None:
    assert backoff.parse_retry_after("Mon, 01 Jan 2001 10:10:00 GMT", NOW) == timedelta(0)


def test_without_the_header_nothing_is_asked_for() -> None:
    assert backoff.parse_retry_after(None, NOW) is None


@pytest.mark.parametrize("header", GARBAGE)
def test_garbage_in_retry_after_asks_for_nothing(header: str) -> None:
    assert backoff.parse_retry_after(header, NOW) is None


DATE_LIKE = st.text(alphabet="0123456789 :,+-JanFebMonGMTZ", max_size=40)


@given(
    st.one_of(
        st.text(max_size=60),
        DATE_LIKE,
        st.from_regex(r"\A\w{3}, \d+ (Jan|Feb) \d+ \d+:\d+:\d+ [+-]?\w+\Z"),
    )
)
def test_no_retry_after_whatsoever_breaks_the_dispatcher(header: str) -> None:
    asked = backoff.parse_retry_after(header, NOW)
    assert asked is None or asked >= timedelta(0)
    assert judged(answered(503, retry_after=header)).status == "pending"


@pytest.mark.parametrize(
    ("failing_for", "hopeless"),
    [(timedelta(0), False), (5 * DAY - SECOND, False), (5 * DAY, True), (6 * DAY, True)],
)
def test_five_days_of_nothing_but_failures_are_hopeless(
    failing_for: timedelta, hopeless: bool
) -> None:
    assert backoff.is_hopeless(NOW, NOW - failing_for) is hopeless


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
@pytest.mark.parametrize("failures", [0, 3, 7])
def test_every_2xx_is_delivered_even_the_last_time_and_after_days_of_failures(
    status: int, failures: int
) -> None:
    result = judged(answered(status, body="thanks"), failures, NOW - 9 * DAY)
    assert (result.status, result.disabled_reason) == ("delivered", None)


@pytest.mark.parametrize(
    "status", [100, 199, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 408, 409, 413, 418]
)
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_every_other_answer_is_tried_again(status: int, chance: float) -> None:
    result = judged(answered(status), chance=chance)
    assert (result.status, result.disabled_reason) == ("pending", None)
    assert result.wait_seconds == pytest.approx(4.5 + chance)


@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504, 599, 999])
@pytest.mark.parametrize(
    ("retry_after", "wait"), [(None, 5), ("2", 5), ("90", 90), ("7200", 3600), ("soon", 5)]
)
def test_a_busy_or_broken_receiver_is_waited_for_as_it_asks(
    status: int, retry_after: str | None, wait: float
) -> None:
    result = judged(answered(status, retry_after=retry_after))
    assert (result.status, result.disabled_reason) == ("pending", None)
    assert result.wait_seconds == pytest.approx(wait)


def test_a_date_in_retry_after_counts_from_the_moment_of_the_try() -> None:
    now = NOW.replace(microsecond=0)
    result = judged(answered(503, retry_after="Mon, 01 Jan 2024 10:10:00 GMT"), now=now)
    assert result.wait_seconds == pytest.approx(600)


def test_no_answer_is_tried_again_and_its_error_recorded() -> None:
    result = judged(answered(None, error="The connection was refused"))
    assert result.status == "pending"
    assert result.wait_seconds == pytest.approx(5)
    assert (result.attempt["status_code"], result.attempt["error"]) == (
        None,
        "The connection was refused",
    )


@pytest.mark.parametrize("failures", range(7))
def test_each_failure_takes_the_next_wait_of_the_schedule(failures: int) -> None:
    result = judged(answered(500), failures)
    assert result.wait_seconds == pytest.approx(WAITS[failures].total_seconds())


@pytest.mark.parametrize(
    "answer", [answered(500), answered(404), answered(302), answered(None, error="No")]
)
def test_the_eighth_failed_try_was_the_last(answer: Answer) -> None:
    result = judged(answer, failures=7, failing_since=NOW - DAY)
    assert (result.status, result.wait_seconds, result.disabled_reason) == ("failed", None, None)


def test_a_long_wait_that_is_asked_for_does_not_save_the_last_try() -> None:
    assert judged(answered(503, retry_after="60"), failures=7).status == "failed"


@pytest.mark.parametrize(("failures", "status"), [(0, "pending"), (7, "failed")])
def test_gone_disables_the_endpoint_and_says_why(failures: int, status: str) -> None:
    result = judged(answered(410), failures)
    assert (result.status, result.disabled_reason) == (status, "The receiver answered 410 Gone")


@pytest.mark.parametrize(
    ("failing_since", "reason"),
    [
        (None, None),
        (NOW - 5 * DAY + SECOND, None),
        (NOW - 5 * DAY, "Nothing but failures for 5 days"),
        (NOW - 30 * DAY, "Nothing but failures for 5 days"),
    ],
)
@pytest.mark.parametrize("answer", [answered(500), answered(None, error="No answer in time")])
def test_an_endpoint_that_fails_for_five_days_is_disabled(
    failing_since: datetime | None, reason: str | None, answer: Answer
) -> None:
    assert judged(answer, 2, failing_since).disabled_reason == reason


def test_a_try_is_recorded_with_its_time_code_answer_duration_and_error() -> None:
    assert judged(answered(503, body="busy", seconds=1.2345)).attempt == {
        "at": "2024-01-01T10:00:00.123Z",
        "status_code": 503,
        "duration_ms": 1234,
        "answer": "busy",
        "error": None,
    }
