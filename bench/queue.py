"""Benchmark of the queue: the cost of a claim however many jobs wait, and of a large batch.

(a) Claims of one job each, in this process, in databases of different size: by one worker, by one
that accepts two of five job types, by one under a limit of jobs per domain, and by eight workers at
once. (b) The same under a limit, with a flood ahead of the other jobs: jobs of one domain that has
reached its limit. (c) A batch of 1,000 new jobs over HTTP.

After each measurement the claimed jobs are completed and replaced by as many new ones.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
import requests

from app.config import Settings
from app.events.provenance import ANONYMOUS, Provenance
from app.factory import create_app
from app.queue import service
from app.queue.claims import ClaimFilter, ClaimRequest
from bench.ground import (
    TIME_ORDERED_ID,
    databases,
    execute,
    print_result,
    show_progress,
    summarize,
    vacuum,
    without_indexes,
)
from support.service import Service, own_work

SIZES = (1_000, 100_000, 1_000_000)
QUICK_SCALE = 10
CLAIMERS = 8
DOMAINS = 500
DOMAIN_LIMIT = 10
TYPES = ["domain_scrape", "page_scrape", "sitemap", "product", "image"]
WORKER_ID = "bench"
LEASE_SECONDS = 3600
BATCH_SIZE = 1000

FILL = f"""
    INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, priority,
        max_retries, config, metadata, created_at, updated_at)
    SELECT {TIME_ORDERED_ID}, md5('d' || d)::uuid, md5('c' || d %% 50)::uuid,
        'd' || d || '.example', (%(types)s)[t], p, 3, '{{"depth": 3, "followLinks": true}}',
        jsonb_build_object('tags', jsonb_build_array('t' || d %% 20)), at, at
    FROM (
        SELECT now() - %(days)s * interval '1 day' * (1 - n::float8 / %(jobs)s) AS at,
            floor(%(domains)s * random() ^ 2)::int AS d, 1 + floor(random() * 5)::int AS t,
            1 + floor(random() * 10)::int AS p
        FROM generate_series(1, %(jobs)s) AS n
    ) AS job"""  # noqa: S608 - made of constants
"""Inserts pending jobs of DOMAINS domains, some of which have many more jobs than others."""

FLOOD = f"""
    INSERT INTO scrape_jobs (id, domain_id, domain, job_type, status, priority, max_retries,
        worker_id, created_at, updated_at)
    SELECT {TIME_ORDERED_ID}, md5('flood')::uuid, 'flood.example', (%(types)s)[1 + n %% 5],
        CASE WHEN n <= %(running)s THEN 'running' ELSE 'pending' END, 1 + n %% 10, 3,
        'flood', at, at
    FROM (
        SELECT n, now() - interval '20 days' + n * interval '1 second' AS at
        FROM generate_series(1, %(jobs)s) AS n
    ) AS job"""  # noqa: S608 - made of constants
"""Inserts old jobs of one domain, of which `running` run and the others are pending."""

COMPLETE = """
    UPDATE scrape_jobs SET status = 'completed', completed_at = now(), lease_expires_at = NULL,
        lease_token = NULL
    WHERE (status = 'running') IS TRUE AND worker_id = %s"""

Seconds = dict[str, float]
"""The seconds of a claim in one round, by the names of the claim and of the queue."""


class BenchQueue:
    """A database of pending jobs, and an application on it in this process."""

    def __init__(self, url: str, jobs: int, flood: int = 0) -> None:
        self.url = url
        self._app = create_app(
            Settings(database_url=url, auth="off", rate_limit=False, threads=CLAIMERS)
        )
        with without_indexes(url, "scrape_jobs"):
            self._fill(jobs, days=10)
        if flood:
            parameters = {"jobs": flood + DOMAIN_LIMIT, "running": DOMAIN_LIMIT, "types": TYPES}
            execute(url, (FLOOD, parameters))
        vacuum(url)

    def claim(self, claim_filter: ClaimFilter, count: int, workers: int = 1) -> float:
        """Make each worker claim `count` jobs, one by one; return the average seconds of a claim.

        Several workers claim at the same time. Their average is the time of all claims together,
        divided by the number of claims.
        """
        if workers == 1:
            return self._claim(claim_filter, count) / count
        with ThreadPoolExecutor(workers) as pool:
            started = time.perf_counter()
            list(pool.map(lambda _: self._claim(claim_filter, count), range(workers)))
            return (time.perf_counter() - started) / (count * workers)

    def _claim(self, claim_filter: ClaimFilter, count: int) -> float:
        request = ClaimRequest(WORKER_ID, claim_filter, lease_seconds=LEASE_SECONDS)
        with own_work(self._app):
            started = time.perf_counter()
            for _ in range(count):
                if not service.claim(request, Provenance(ANONYMOUS, "bench")):
                    raise SystemExit("a claim found no job")
            return time.perf_counter() - started

    def restore(self) -> None:
        """Complete the claimed jobs, and insert as many new ones."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(COMPLETE, (WORKER_ID,))
            claimed = cursor.rowcount
        connection.close()
        self._fill(claimed, days=0)

    def _fill(self, jobs: int, days: int) -> None:
        execute(self.url, (FILL, {"jobs": jobs, "days": days, "domains": DOMAINS, "types": TYPES}))

    def close(self) -> None:
        """Close the connections of the application."""
        with own_work(self._app):
            self._app.extensions["sqlalchemy"].engine.dispose()


Claim = Callable[[BenchQueue], float]
"""Claims jobs of a queue, and returns the seconds of one claim."""


def measure_claims(
    queues: Mapping[str, BenchQueue], claims: Mapping[str, Claim], rounds: int
) -> list[Seconds]:
    """Return the seconds of each kind of claim in each queue, for each round.

    A first round warms up and is not returned. The order of the queues alternates.
    """
    results = []
    names = list(queues)
    for number in range(rounds + 1):
        seconds = {}
        for kind, claim in claims.items():
            for name in names if number % 2 else reversed(names):
                step = f"round {number} of {rounds}: {kind}, {name}" if number else "warming up"
                show_progress(f"(a), (b) {step}")
                seconds[f"{kind} {name}"] = claim(queues[name])
                queues[name].restore()
        results.append(seconds)
    return results[1:]


def print_claims(results: list[Seconds], kind: str, name: str, other: str) -> None:
    """Print the cost of a kind of claim in one queue, and its ratio to the cost in another."""
    ours, theirs = ([seconds[f"{kind} {queue}"] for seconds in results] for queue in (name, other))
    typical = statistics.median(ours)
    line = f"  {name}: {typical * 1000:.2f} ms a claim, {1 / typical:.0f} a second"
    if name != other:
        ratios = [mine / base for mine, base in zip(ours, theirs, strict=True)]
        line += f", ratio to {other}: {summarize(ratios)}"
    print_result(line)


def measure_batches(url: str, count: int) -> list[float]:
    """Return the seconds of each batch of new jobs, over HTTP; the first one warms up."""
    seconds = []
    with Service(url) as running, requests.Session() as session:
        for number in range(count + 1):
            show_progress(f"(c) batch {number} of {count}")
            jobs = [_new_job(number * BATCH_SIZE + job) for job in range(BATCH_SIZE)]
            started = time.perf_counter()
            answer = session.post(running.jobs, json=jobs, timeout=30)
            seconds.append(time.perf_counter() - started)
            answer.raise_for_status()
    return seconds[1:]


def _new_job(number: int) -> dict[str, Any]:
    return {
        "domain": f"d{number % DOMAINS}.example",
        "job_type": TYPES[number % 5],
        "priority": 1 + number % 10,
        "config": {"depth": 3, "followLinks": True},
        "metadata": {"tags": [f"t{number % 20}"]},
    }


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs, and few rounds")
    parser.add_argument("--rounds", type=int, help="rounds (default 9, quick 3)")
    parser.add_argument(
        "--claims", type=int, default=80, help="claims a round by all workers together (default 80)"
    )
    parser.add_argument("--batches", type=int, help="batches (default 20, quick 5)")
    parser.set_defaults(rounds=9, batches=20)
    if parser.parse_args().quick:
        parser.set_defaults(rounds=3, batches=5)
    return parser.parse_args()


@contextmanager
def open_queues(sizes: Mapping[str, tuple[int, int]]) -> Iterator[dict[str, BenchQueue]]:
    """Yield queues by name, each filled with a number of jobs and a number of jobs of a flood."""
    with databases(len(sizes)) as urls:
        queues = {}
        for url, (name, (jobs, flood)) in zip(urls, sizes.items(), strict=True):
            show_progress(f"filling: {name}")
            queues[name] = BenchQueue(url, jobs, flood)
        yield queues


def main() -> None:
    """Run the benchmark with the options of the command line."""
    options = parse_arguments()
    rounds, scale = options.rounds, QUICK_SCALE if options.quick else 1

    def claim_by(claim_filter: ClaimFilter, workers: int = 1) -> Claim:
        return lambda queue: queue.claim(claim_filter, options.claims // workers, workers)

    sizes = {f"{size:,}": size for size in (SIZES[0], *(size // scale for size in SIZES[1:]))}
    names = list(sizes)
    middle = names[1]
    flooded = f"{middle} behind a flood of {middle}"
    limited = f"by one worker, at most {DOMAIN_LIMIT} jobs a domain"
    claims = {
        "by one worker": claim_by(ClaimFilter()),
        "by one worker, two of five job types": claim_by(ClaimFilter(job_types=TYPES[:2])),
        limited: claim_by(ClaimFilter(domain_limit=DOMAIN_LIMIT)),
        f"by {CLAIMERS} workers at once": claim_by(ClaimFilter(), CLAIMERS),
    }
    paired = f"({rounds} paired rounds of {options.claims} claims)"
    floods = {flooded: (sizes[middle], sizes[middle])}
    with open_queues({**{name: (size, 0) for name, size in sizes.items()}, **floods}) as queues:
        results = measure_claims({name: queues[name] for name in names}, claims, rounds)
        for kind in claims:
            print_result(f"(a) {kind}, by the number of pending jobs {paired}:")
            for name in names:
                print_claims(results, kind, name, names[0])
        compared = {name: queues[name] for name in (middle, flooded)}
        results = measure_claims(compared, {limited: claims[limited]}, rounds)
        print_result(f"(b) {limited} {paired}:")
        for name in compared:
            print_claims(results, limited, name, middle)
        for queue in queues.values():
            queue.close()
        seconds = measure_batches(queues[middle].url, options.batches)
        print_result(
            f"(c) a batch of {BATCH_SIZE:,} new jobs beside {middle}:"
            f" {statistics.median(seconds):.3f} s"
            f" ({min(seconds):.3f} to {max(seconds):.3f}; {len(seconds)} batches)"
        )


if __name__ == "__main__":
    main()
