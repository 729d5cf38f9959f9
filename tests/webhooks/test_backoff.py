"""The backoff between attempts, and the consequences of an attempt: pure rules."""

import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks import backoff
from app.webhooks.attempt import ReceiverResponse
from app.webhooks.claims import ClaimedDelivery
from app.webhooks.evaluation import AttemptResult, evaluate

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


def waits(failures: int, chance: float, retry_after: timedelta | None = None) -> timedelta:
    again = backoff.next_attempt_at(NOW, failures, chance, retry_after)
    assert again is not None
    return again - NOW


def answered(
    status: int | None,
    *,
    retry_after: str | None = None,
    error: str | None = None,
    body: str = "",
    seconds: float = 0.1,
) -> ReceiverResponse:
    return ReceiverResponse(status, body, error, retry_after, seconds)


def claimed(failures: int = 0, failing_since: datetime | None = None) -> ClaimedDelivery:
    ids = (uuid.uuid4(), 1, uuid.uuid4(), uuid.uuid4())
    return ClaimedDelivery(
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


def evaluated(
    answer: ReceiverResponse,
    failures: int = 0,
    failing_since: datetime | None = None,
    chance: float = 0.5,
    now: datetime = NOW,
) -> AttemptResult:
    return evaluate(claimed(failures, failing_since), answer, now, chance)


@pytest.mark.parametrize(("failures", "wait"), list(enumerate(WAITS, 1)))
def test_each_failure_has_its_wait_and_jitter(failures: int, wait: timedelta) -> None:
    assert waits(failures, 0.5) == wait
    assert waits(failures, 0.0) == wait * 0.9
    assert waits(failures, 1.0) == wait * 1.1


@given(st.integers(1, 7), st.floats(0, 1))
def test_the_jitter_is_at_most_ten_percent(failures: int, chance: float) -> None:
    wait = WAITS[failures - 1]
    assert wait * 0.9 <= waits(failures, chance) <= wait * 1.1


@pytest.mark.parametrize("failures", [8, 9, 100])
@pytest.mark.parametrize("retry_after", [None, timedelta(0), HOUR])
def test_the_eighth_attempt_is_the_last(failures: int, retry_after: timedelta | None) -> None:
    assert backoff.next_attempt_at(NOW, failures, 0.5, retry_after) is None


@pytest.mark.parametrize(
    ("failures", "asked", "expected"),
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
def test_retry_after_extends_the_wait_to_an_hour(
    failures: int, asked: timedelta, expected: timedelta
) -> None:
    assert waits(failures, 0.5, asked) == expected


@given(st.integers(1, 7), st.floats(0, 1), st.timedeltas(timedelta(0), 10 * DAY))
def test_retry_after_never_shortens_the_wait(
    failures: int, chance: float, asked: timedelta
) -> None:
    assert (
        waits(failures, chance)
        <= waits(failures, chance, asked)
        <= max(waits(failures, chance), HOUR)
    )


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
def test_retry_after_may_be_seconds(header: str, seconds: int) -> None:
    assert backoff.parse_retry_after(header, NOW) == seconds * SECOND


@pytest.mark.parametrize("header", ["9" * 10, "9" * 30, "9" * 5000])
def test_a_huge_retry_after_is_bounded(header: str) -> None:
    asked = backoff.parse_retry_after(header, NOW)
    assert asked is not None
    assert waits(1, 0.5, asked) == HOUR


@pytest.mark.parametrize("wait", [SECOND, MINUTE, 59 * MINUTE, 3 * DAY])
def test_retry_after_may_be_a_date(wait: timedelta) -> None:
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
def test_all_forms_of_http_dates_are_parsed(header: str) -> None:
    assert backoff.parse_retry_after(header, NOW.replace(microsecond=0)) == 10 * MINUTE


def test_a_past_date_means_no_wait() -> None:
    assert backoff.parse_retry_after("Mon, 01 Jan 2001 10:10:00 GMT", NOW) == timedelta(0)


def test_without_the_header_there_is_no_wait() -> None:
    assert backoff.parse_retry_after(None, NOW) is None


@pytest.mark.parametrize("header", GARBAGE)
def test_an_invalid_retry_after_is_ignored(header: str) -> None:
    assert backoff.parse_retry_after(header, NOW) is None


DATE_LIKE = st.text(alphabet="0123456789 :,+-JanFebMonGMTZ", max_size=40)


@given(
    st.one_of(
        st.text(max_size=60),
        DATE_LIKE,
        st.from_regex(r"\A\w{3}, \d+ (Jan|Feb) \d+ \d+:\d+:\d+ [+-]?\w+\Z"),
    )
)
def test_any_retry_after_is_evaluated(header: str) -> None:
    asked = backoff.parse_retry_after(header, NOW)
    assert asked is None or asked >= timedelta(0)
    assert evaluated(answered(503, retry_after=header)).status == "pending"


@pytest.mark.parametrize(
    ("failing_for", "hopeless"),
    [(timedelta(0), False), (5 * DAY - SECOND, False), (5 * DAY, True), (6 * DAY, True)],
)
def test_five_days_of_failures_are_hopeless(failing_for: timedelta, hopeless: bool) -> None:
    assert backoff.is_hopeless(NOW, NOW - failing_for) is hopeless


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
@pytest.mark.parametrize("failures", [0, 3, 7])
def test_every_2xx_is_delivered(status: int, failures: int) -> None:
    result = evaluated(answered(status, body="thanks"), failures, NOW - 9 * DAY)
    assert (result.status, result.disabled_reason) == ("delivered", None)


@pytest.mark.parametrize(
    "status", [100, 199, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 408, 409, 413, 418]
)
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_every_other_response_is_retried(status: int, chance: float) -> None:
    result = evaluated(answered(status), chance=chance)
    assert (result.status, result.disabled_reason) == ("pending", None)
    assert result.wait_seconds == pytest.approx(4.5 + chance)


@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504, 599, 999])
@pytest.mark.parametrize(
    ("retry_after", "wait"), [(None, 5), ("2", 5), ("90", 90), ("7200", 3600), ("soon", 5)]
)
def test_retry_after_of_failing_receivers_is_respected(
    status: int, retry_after: str | None, wait: float
) -> None:
    result = evaluated(answered(status, retry_after=retry_after))
    assert (result.status, result.disabled_reason) == ("pending", None)
    assert result.wait_seconds == pytest.approx(wait)


def test_a_date_counts_from_the_attempt() -> None:
    now = NOW.replace(microsecond=0)
    result = evaluated(answered(503, retry_after="Mon, 01 Jan 2024 10:10:00 GMT"), now=now)
    assert result.wait_seconds == pytest.approx(600)


def test_a_missing_response_is_retried() -> None:
    result = evaluated(answered(None, error="The connection was refused"))
    assert result.status == "pending"
    assert result.wait_seconds == pytest.approx(5)
    assert (result.attempt["status_code"], result.attempt["error"]) == (
        None,
        "The connection was refused",
    )


@pytest.mark.parametrize("failures", range(7))
def test_each_failure_takes_the_next_wait(failures: int) -> None:
    result = evaluated(answered(500), failures)
    assert result.wait_seconds == pytest.approx(WAITS[failures].total_seconds())


@pytest.mark.parametrize(
    "answer", [answered(500), answered(404), answered(302), answered(None, error="No")]
)
def test_the_eighth_failure_is_final(answer: ReceiverResponse) -> None:
    result = evaluated(answer, failures=7, failing_since=NOW - DAY)
    assert (result.status, result.wait_seconds, result.disabled_reason) == ("failed", None, None)


def test_retry_after_does_not_extend_the_schedule() -> None:
    assert evaluated(answered(503, retry_after="60"), failures=7).status == "failed"


@pytest.mark.parametrize(("failures", "status"), [(0, "pending"), (7, "failed")])
def test_gone_disables_the_endpoint(failures: int, status: str) -> None:
    result = evaluated(answered(410), failures)
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
def test_five_days_of_failures_disable_the_endpoint(
    failing_since: datetime | None, reason: str | None, answer: ReceiverResponse
) -> None:
    assert evaluated(answer, 2, failing_since).disabled_reason == reason


def test_an_attempt_is_recorded() -> None:
    assert evaluated(answered(503, body="busy", seconds=1.2345)).attempt == {
        "at": "2024-01-01T10:00:00.123Z",
        "status_code": 503,
        "duration_ms": 1234,
        "answer": "busy",
        "error": None,
    }
