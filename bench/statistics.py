"""Measures the cost of reading statistics at different numbers of jobs, in paired rounds.

First the jobs, which were created, claimed and ended within 30 days, are counted into the running
totals. Then this process reads the statistics of a day that begins within a minute, of the same day
by hour, of one domain and by domain, and of all time. With --one-day all jobs belong to the day
that is read.
"""

import argparse
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from app.config import Settings
from app.factory import create_app
from app.statistics import service
from bench.ground import (
    TIME_ORDERED_ID,
    databases,
    execute,
    print_result,
    show_progress,
    summarize,
    vacuum,
)
from support.service import own_work

SIZES = (10_000, 1_000_000)
EVENTS_OF_A_JOB = 3
DOMAINS = 500
CUSTOMERS = 50
TYPES = ["domain_scrape", "page_scrape", "sitemap", "product", "image"]
ERRORS = [
    "Timeout after 30012 ms at https://www.example.com/products/4711?page=2",
    "HTTP 503 from 192.0.2.17:443",
    "Connection reset by peer",
    "Selector .price not found in document 018f3a5e-7b1c-7d2e-9f00-3c5d7e9a1b2c",
    "Out of memory: 2048 MB of 2048 MB used",
    "Robots.txt disallows /private/area-51",
    "DNS lookup of shop17.example failed",
    "Navigation failed because the page crashed",
]

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
DAY = datetime(2024, 1, 15, 7, 23, 45, 678000, tzinfo=UTC)
NOTHING = {"customer": None, "domain": None, "job_type": None, "group": None}
DAY_OF = {"start": DAY, "end": DAY + timedelta(days=1), **NOTHING}

WINDOWS: dict[str, dict[str, Any]] = {
    "a day": DAY_OF,
    "a day by hour": {**DAY_OF, "group": "hour"},
    "all time": {"start": None, "end": None, **NOTHING},
    "a day of one domain": {**DAY_OF, "domain": "d100.example"},
    "a day by domain": {**DAY_OF, "group": "domain"},
}

JOBS = f"""
    INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, priority,
        max_retries, status, retry_count, stats, error_message, started_at, completed_at,
        created_at, updated_at, version, status_seq)
    SELECT {TIME_ORDERED_ID}, md5('d' || d)::uuid, md5('c' || d %% %(customers)s)::uuid,
        'd' || d || '.example',
        (%(types)s)[t], p, 3,
        CASE WHEN e IS NULL THEN 'completed' ELSE 'failed' END, retries,
        jsonb_build_object('pagesProcessed', pages, 'performance', jsonb_build_object(
            'memoryUsage', 200 + pages || 'MB', 'cpuUsage', pages %% 100,
            'networkLatency', 20 + pages %% 300)),
        (%(errors)s)[e], at + wait, at + wait + took, at, at + wait + took, 3, 3
    FROM (
        SELECT %(begin)s + %(days)s * interval '1 day' * n / %(jobs)s AS at,
            floor(%(domains)s * random() ^ 2)::int AS d, 1 + floor(random() * 5)::int AS t,
            1 + floor(random() * 10)::int AS p, 1 + floor(random() * 500)::int AS pages,
            CASE WHEN random() < 0.1 THEN 1 + floor(random() * %(kinds_of_errors)s)::int END AS e,
            (random() < 0.1)::int AS retries, random() * interval '2 minutes' AS wait,
            exp(3 + random_normal()) * interval '1 second' AS took
        FROM generate_series(1, %(jobs)s) AS n
    ) AS job"""  # noqa: S608 - of constants

EVENTS = """
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes,
        stats, previous_seq, retry_count, seconds, error_message)
    SELECT j.id, e.* FROM scrape_jobs j CROSS JOIN LATERAL (VALUES
        (1, j.created_at, 'created', NULL, 'pending', 'anonymous', jsonb_build_object('domain',
            jsonb_build_object('from', NULL, 'to', j.domain)), '{}'::jsonb, NULL::bigint,
            j.retry_count, NULL::float8, NULL),
        (2, j.started_at, 'claimed', 'pending', 'running', 'anonymous', '{}', '{}', 1,
            j.retry_count, NULL, NULL),
        (3, j.completed_at, 'updated', 'running', j.status, 'anonymous', jsonb_build_object('stats',
            jsonb_build_object('from', NULL, 'to', j.stats)), j.stats, 2, j.retry_count,
            extract(epoch FROM j.completed_at - j.started_at)::float8, j.error_message)
    ) AS e"""

UNCOUNTED = "INSERT INTO uncounted_events (job_id, seq) SELECT job_id, seq FROM job_events"


class History:
    """A database of jobs that ended, and the service on it in this process."""

    def __init__(self, url: str, jobs: int, begin: datetime, days: float) -> None:
        self.jobs = jobs
        self._url = url
        self._app = create_app(Settings(database_url=url, auth="off", rate_limit=False))
        values = {
            "jobs": jobs, "begin": begin, "days": days, "domains": DOMAINS, "customers": CUSTOMERS,
            "types": TYPES, "errors": ERRORS, "kinds_of_errors": len(ERRORS),
        }  # fmt: skip
        execute(url, (JOBS, values), (EVENTS, ()), (UNCOUNTED, ()))
        vacuum(url)

    def count(self) -> float:
        """Count all events into the totals; return the rate in events per second."""
        with own_work(self._app):
            started = time.perf_counter()
            counted = service.count()
            rate = counted / (time.perf_counter() - started)
            total = service.statistics(None, None, **NOTHING)["total"]
        if (counted, total) != (self.jobs * EVENTS_OF_A_JOB, self.jobs):
            raise SystemExit(f"{counted} events of {total} jobs were counted")
        vacuum(self._url)
        return rate

    def read(self, window: dict[str, Any], times: int) -> float:
        """Return the mean duration of `times` reads of the statistics, in seconds."""
        with own_work(self._app):
            started = time.perf_counter()
            for _ in range(times):
                service.statistics(**window)
            return (time.perf_counter() - started) / times

    def close(self) -> None:
        """Close the connections to the database."""
        with own_work(self._app):
            self._app.extensions["sqlalchemy"].engine.dispose()


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
        "--times", type=int, default=20, help="reads of each window in a round (default 20)"
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
    begin, days = (DAY - timedelta(hours=1), 25 / 24) if options.one_day else (BEGIN, 30)

    with databases(len(SIZES)) as urls:
        histories = {}
        for url, size in zip(urls, SIZES, strict=True):
            jobs = size // scale
            name = f"{jobs:,}"
            show_progress(f"filling: {name} jobs")
            histories[name] = History(url, jobs, begin, days)
            show_progress(f"counting the events of {name} jobs")
            rate = histories[name].count()
            print_result(f"counting {jobs * EVENTS_OF_A_JOB:,} events: {rate:.0f} a second")
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
