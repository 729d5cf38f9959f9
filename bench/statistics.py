"""Measures the cost of reading statistics at different numbers of jobs, in paired rounds.

The jobs were created, claimed and ended within 30 days. This process reads the statistics of a day
that begins within a minute, of the same day by hour, of one domain and by domain, and of all time.
With --one-day all jobs belong to the day that is read. Before, it measures how fast the service
counts events into the running totals.
"""

import argparse
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.ground import databases, print_result, show_progress, summarize
from bench.history import COPIES, EVENTS_OF_A_JOB, EVERYTHING, History

SIZES = (10_000, 1_000_000)

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
DAY = datetime(2024, 1, 15, 7, 23, 45, 678000, tzinfo=UTC)
DAY_OF = {"start": DAY, "end": DAY + timedelta(days=1), **EVERYTHING}

WINDOWS: dict[str, dict[str, Any]] = {
    "a day": DAY_OF,
    "a day by hour": {**DAY_OF, "group": "hour"},
    "all time": {"start": None, "end": None, **EVERYTHING},
    "a day of one domain": {**DAY_OF, "domain": "d100.example"},
    "a day by domain": {**DAY_OF, "group": "domain"},
}


def rounds(
    histories: dict[str, History], count: int, times: int
) -> list[dict[tuple[str, str], float]]:
    """Return the seconds of each window in each history, for each round."""
    found = []
    for number in range(count + 1):
        seconds = {}
        for what, window in WINDOWS.items():
            for name in list(histories) if number % 2 else reversed(histories):
                show_progress(
                    f"round {number} of {count}: {what}, {name}" if number else "warming up"
                )
                seconds[what, name] = histories[name].read(window, times)
        found.append(seconds)
    return found[1:]


def main() -> None:
    """Run the measurement with the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs, and few rounds")
    parser.add_argument("--rounds", type=int, help="rounds (default 9, quick 3)")
    parser.add_argument(
        "--times", type=int, default=10, help="reads of each window in a round (default 10)"
    )
    parser.add_argument(
        "--one-day",
        action="store_true",
        help="the worst case: all jobs within the day that is read",
    )
    parser.set_defaults(rounds=9)
    if parser.parse_args().quick:
        parser.set_defaults(rounds=3)
    options = parser.parse_args()
    count, scale = options.rounds, 10 if options.quick else 1
    if options.one_day:
        begin, span, shift = DAY - timedelta(hours=1), timedelta(hours=25), timedelta()
    else:
        begin, span, shift = BEGIN, timedelta(days=1), timedelta(days=1)

    with databases(len(SIZES)) as urls:
        histories = {}
        for url, size in zip(urls, SIZES, strict=True):
            name = f"{size // scale:,}"
            history = histories[name] = History(url, size // scale, begin, span, shift)
            events = history.jobs // COPIES * EVENTS_OF_A_JOB
            show_progress(f"counting {events:,} events of {name} jobs")
            print_result(f"counting {events:,} events: {history.count():.0f} a second")
            show_progress(f"filling: {name} jobs")
            history.add_copies()
        found = rounds(histories, count, options.times)
        small, large = histories
        spread = "one day" if options.one_day else "30 days"
        print_result(
            f"statistics of {small} and of {large} jobs in {spread}"
            f" ({count} paired rounds of {options.times}):"
        )
        for what in WINDOWS:
            low, high = ([seconds[what, name] for seconds in found] for name in (small, large))
            print_result(
                f"  {what}: {statistics.median(low) * 1000:.2f} ms"
                f" and {statistics.median(high) * 1000:.2f} ms,"
                f" ratio {summarize([mine / base for mine, base in zip(high, low, strict=True)])}"
            )
        for history in histories.values():
            history.close()


if __name__ == "__main__":
    main()
