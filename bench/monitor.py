"""Measures how long the first page of the monitor takes at 1,000 and at 1,000,000 jobs.

In paired rounds this process asks for the list, for the failed jobs, for one domain and for the
statistics of a month. The jobs and their totals are those of `bench.statistics`.
"""

import argparse
import statistics
import time
from datetime import timedelta

from bench.ground import databases, print_result, show_progress, summarize
from bench.history import History
from bench.statistics import BEGIN

SMALL, LARGE = 1_000, 1_000_000
DAY = timedelta(days=1)
PAGES = ("/", "/?status=failed", "/?domain=d100.example", "/statistics?window=all")


class PagedHistory(History):
    """A database of jobs that ended, and the pages of the service on it."""

    def open(self, path: str, times: int) -> float:
        """Return the mean duration of `times` requests for a page, in seconds."""
        client = self._app.test_client()
        started = time.perf_counter()
        for _ in range(times):
            if client.get(path).status_code != 200:
                raise SystemExit(f"{path} failed")
        return (time.perf_counter() - started) / times


def main() -> None:
    """Run the measurement with the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the many jobs, and few rounds"
    )
    options = parser.parse_args()
    count, times, scale = (3, 10, 10) if options.quick else (9, 20, 1)
    sizes = (SMALL, LARGE // scale)
    with databases(len(sizes)) as urls:
        histories = []
        for url, size in zip(urls, sizes, strict=True):
            show_progress(f"filling: {size:,} jobs")
            history = PagedHistory(url, size, BEGIN, DAY, DAY)
            history.count()
            history.add_copies()
            histories.append(history)
        small, large = histories
        print_result(
            f"pages at {small.jobs:,} and {large.jobs:,} jobs ({count} paired rounds of {times}):"
        )
        for path in PAGES:
            found = []
            for number in range(count + 1):
                show_progress(f"round {number} of {count}: {path}")
                found.append((small.open(path, times), large.open(path, times)))
            _print(path, found[1:])
        for history in histories:
            history.close()


def _print(path: str, found: list[tuple[float, float]]) -> None:
    low, high = (statistics.median(values) * 1000 for values in zip(*found, strict=True))
    ratio = summarize([large / small for small, large in found])
    print_result(f"  {path}: {low:.2f} ms and {high:.2f} ms, ratio {ratio}")


if __name__ == "__main__":
    main()
