"""Measures the queue: what a claim costs however many jobs wait, in paired rounds, and how long a
large batch takes.

(a) Claims of one job each, in this process, in databases of different size: by one worker, by one
that takes two of five job types, by one under a limit of jobs a domain, and by eight workers at
once. (b) The same under a limit, with a flood ahead of the others: jobs of one domain that runs as
many as it may. (c) A batch of 1,000 new jobs over HTTP.

What was claimed is completed, and as many new jobs take its place, before the next measurement.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import requests

from app.config import Settings
from app.events.provenance import ANONYMOUS, Provenance
from app.factory import create_app
from app.queue import service
from app.queue.queries import Wanted
from app.queue.service import Worker
from bench.ground import ID, databases, execute, say, tell, told, vacuum
from support.service import Service, own_work

SIZES = (1_000, 100_000, 1_000_000)
CLAIMERS = 8
DOMAINS = 500
DOMAIN_LIMIT = 10
TYPES = ["domain_scrape", "page_scrape", "sitemap", "product", "image"]
WORKER = Worker("bench", lease_seconds=3600)
BATCH = 1000

FILL = f"""
    INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, priority, max_retries, config,
        metadata, created_at, updated_at)
    SELECT {ID}, md5('d' || d)::uuid, md5('c' || d %% 50)::uuid, 'd' || d || '.example', (%(types)s)[t], p, 3,
        '{{"depth": 3, "followLinks": true}}', jsonb_build_object('tags', jsonb_build_array('t' || d %% 20)), at, at
    FROM (
        SELECT now() - %(days)s * interval '1 day' * (1 - n::float8 / %(jobs)s) AS at,
            floor(%(domains)s * random() ^ 2)::int AS d, 1 + floor(random() * 5)::int AS t,
            1 + floor(random() * 10)::int AS p
        FROM generate_series(1, %(jobs)s) AS n
    ) AS job"""  # noqa: S608 - of constants
"""Jobs of DOMAINS domains, some of which have many more than others."""

FLOOD = f"""
    INSERT INTO scrape_jobs (id, domain_id, domain, job_type, status, priority, max_retries, worker_id, created_at,
        updated_at)
    SELECT {ID}, md5('flood')::uuid, 'flood.example', (%(types)s)[1 + n %% 5],
        CASE WHEN n <= %(running)s THEN 'running' ELSE 'pending' END, 1 + n %% 10, 3, 'flood', at, at
    FROM (
        SELECT n, now() - interval '20 days' + n * interval '1 second' AS at FROM generate_series(1, %(jobs)s) AS n
    ) AS job"""  # noqa: S608 - of constants

COMPLETE = """
    UPDATE scrape_jobs SET status = 'completed', completed_at = now(), lease_expires_at = NULL, lease_token = NULL
    WHERE (status = 'running') IS TRUE AND worker_id = %s"""


class Queue:
    """A database of waiting jobs, and the service on it in this process."""

    def __init__(self, url: str, jobs: int, flood: int = 0) -> None:
        self.url = url
        self._app = create_app(
            Settings(database_url=url, auth="off", rate_limit=False, threads=CLAIMERS)
        )
        self._fill(jobs, days=10)
        if flood:
            execute(
                url,
                (FLOOD, {"jobs": flood + DOMAIN_LIMIT, "running": DOMAIN_LIMIT, "types": TYPES}),
            )
        vacuum(url)

    def claim(self, wanted: Wanted, count: int, workers: int = 1) -> float:
        """Let each of `workers` claim `count` jobs, one after the other; return the seconds for
        each of all these."""
        if workers == 1:
            return self._claim(wanted, count) / count
        with ThreadPoolExecutor(workers) as pool:
            started = time.perf_counter()
            list(pool.map(lambda _: self._claim(wanted, count), range(workers)))
            return (time.perf_counter() - started) / (count * workers)

    def _claim(self, wanted: Wanted, count: int) -> float:
        with own_work(self._app):
            started = time.perf_counter()
            for _ in range(count):
                if not service.claim(wanted, WORKER, 1, Provenance(ANONYMOUS, "bench")):
                    raise SystemExit("a claim found nothing")
            return time.perf_counter() - started

    def restore(self) -> None:
        """Complete what was claimed, and let as many new jobs wait."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(COMPLETE, (WORKER.id,))
            claimed = cursor.rowcount
        connection.close()
        self._fill(claimed, days=0)

    def _fill(self, jobs: int, days: int) -> None:
        execute(self.url, (FILL, {"jobs": jobs, "days": days, "domains": DOMAINS, "types": TYPES}))

    def close(self) -> None:
        """Close its connections."""
        with own_work(self._app):
            self._app.extensions["sqlalchemy"].engine.dispose()


def claims(
    queues: dict[str, Queue], ways: dict[str, Callable[[Queue], float]], rounds: int
) -> list[dict[str, float]]:
    """Return the seconds a claim of each way in each queue ("way queue"), for each round."""
    found = []
    for number in range(rounds + 1):
        seconds = {}
        names = list(queues)
        for way, claim in ways.items():
            for name in names if number % 2 else reversed(names):
                say(
                    f"(a), (b) round {number} of {rounds}: {way}, {name}"
                    if number
                    else "(a), (b) warming up"
                )
                seconds[f"{way} {name}"] = claim(queues[name])
                queues[name].restore()
        found.append(seconds)
    return found[1:]


def tell_claims(found: list[dict[str, float]], way: str, name: str, other: str) -> None:
    """Print what a claim costs in one queue, and how that compares with another."""
    ours, theirs = ([seconds[f"{way} {queue}"] for seconds in found] for queue in (name, other))
    typical = statistics.median(ours)
    line = f"  {name}: {typical * 1000:.2f} ms a claim, {1 / typical:.0f} a second"
    if name != other:
        line += f", ratio to {other}: {told([mine / base for mine, base in zip(ours, theirs, strict=True)])}"
    tell(line)


def batches(url: str, count: int) -> list[float]:
    """Return the seconds of each batch of creates through gunicorn."""
    seconds = []
    with Service(url) as running, requests.Session() as session:
        for number in range(count + 1):
            say(f"(c) batch {number} of {count}")
            jobs = [
                {
                    "domain": f"d{(number * BATCH + job) % DOMAINS}.example",
                    "job_type": TYPES[job % 5],
                    "priority": 1 + job % 10,
                    "config": {"depth": 3, "followLinks": True},
                    "metadata": {"tags": [f"t{job % 20}"]},
                }
                for job in range(BATCH)
            ]
            started = time.perf_counter()
            answer = session.post(running.jobs, json=jobs, timeout=30)
            seconds.append(time.perf_counter() - started)
            answer.raise_for_status()
    return seconds[1:]


def main() -> None:
    """Run what the command line asks for."""
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
    options = parser.parse_args()
    rounds, scale = options.rounds, 10 if options.quick else 1

    def by(wanted: Wanted, workers: int = 1) -> Callable[[Queue], float]:
        return lambda queue: queue.claim(wanted, options.claims // workers, workers)

    sizes = [SIZES[0], *(size // scale for size in SIZES[1:])]
    names = [f"{size:,}" for size in sizes]
    flooded = f"{names[1]} behind a flood of {names[1]}"
    limited = f"by one worker, at most {DOMAIN_LIMIT} jobs a domain"
    ways = {
        "by one worker": by(Wanted()),
        "by one worker, two of five job types": by(Wanted(job_types=TYPES[:2])),
        limited: by(Wanted(domain_limit=DOMAIN_LIMIT)),
        f"by {CLAIMERS} workers at once": by(Wanted(), CLAIMERS),
    }
    with databases(4) as urls:
        queues = {}
        for url, name, size in zip(urls, (*names, flooded), (*sizes, sizes[1]), strict=True):
            say(f"filling: {name}")
            queues[name] = Queue(url, size, size if name == flooded else 0)
        found = claims({name: queues[name] for name in names}, ways, rounds)
        for way in ways:
            tell(
                f"(a) {way}, by the number of waiting jobs ({rounds} paired rounds of {options.claims} claims):"
            )
            for name in names:
                tell_claims(found, way, name, names[0])
        found = claims(
            {name: queues[name] for name in (names[1], flooded)}, {limited: ways[limited]}, rounds
        )
        tell(f"(b) {limited} ({rounds} paired rounds of {options.claims} claims):")
        for name in (names[1], flooded):
            tell_claims(found, limited, name, names[1])
        for queue in queues.values():
            queue.close()
        seconds = batches(urls[1], options.batches)
        tell(
            f"(c) a batch of {BATCH:,} new jobs beside {names[1]}: {statistics.median(seconds):.3f} s"
            f" ({min(seconds):.3f} to {max(seconds):.3f}; {len(seconds)} batches)"
        )


if __name__ == "__main__":
    main()
