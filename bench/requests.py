"""Measures requests over HTTP: their rate, latency, CPU and round trips, at different sizes.

The loads are reads of a job (GET), conditional reads (304), progress reports (PUT), creations
(POST) and claims of one job, each over 8 connections. The databases have 1,000, 100,000 and
1,000,000 jobs, with ten events for each job. The service runs in two processes, as `make serve`
starts them, under each server in turn, without API keys and rate limits. Every round visits all
databases and servers, so that a drift of the machine's speed affects all of them.

A GET and a PUT must cost at most 1.3 times as much CPU at the largest size as at the smallest:
otherwise the exit code is 1.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from app.config import Settings
from bench import request_chart
from bench.cpu_times import postgres_cpu, seconds_used, server_cpu
from bench.dataset import EVENTS_OF_A_JOB, Dataset, fill
from bench.ground import databases, print_result, show_progress, summarize
from bench.load import CONNECTIONS, run_load
from bench.machine import describe, in_words
from bench.request_loads import LOADS
from bench.request_results import Case, Measurement, Results
from support.round_trips import CountingProxy
from support.service import Service

SIZES = (1_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 10_000)
SERVERS = ("gunicorn", "granian")
PROCESSES = "2"
CONDITIONS = f"{CONNECTIONS} connections to {PROCESSES} processes"
WARM_UP_SECONDS = 0.4
ALONE = {
    "WEB_CONCURRENCY": "1", "THREADS": "1", "SCRAPE_JOBS_WEBHOOK_DISPATCH": "off",
    "SCRAPE_JOBS_HOUSEKEEPING": "off",
}  # fmt: skip
"""Settings of a service that only answers requests."""

COUNTED_REQUESTS = 30
"""Requests of which the round trips are counted, after as many others."""

MAX_RATIO = 1.3
BOUNDED_LOADS = ("GET", "PUT")


def installed_servers() -> list[str]:
    """Return the servers that this release and this environment have."""
    declared = {field.metadata["name"] for field in dataclasses.fields(Settings)}
    others = "SERVER" in declared and importlib.util.find_spec("granian") is not None
    return list(SERVERS if others else SERVERS[:1])


@contextmanager
def filled_databases(sizes: Sequence[int]) -> Iterator[list[Dataset]]:
    """Yield a filled database for each number of jobs."""
    with databases(len(sizes)) as urls:
        datasets = []
        for url, size in zip(urls, sizes, strict=True):

            def progress(jobs: int, size: int = size) -> None:
                show_progress(f"filling: {jobs:,} of {size:,} jobs")

            progress(0)
            datasets.append(fill(url, size, progress))
        show_progress("writing the databases to the disk")
        os.sync()  # else the system writes them during the first measurements
        yield datasets


def measure(
    server: str, dataset: Dataset, seconds: float, progress: Callable[[str], None]
) -> Iterator[Measurement]:
    """Start the server on the database and measure each load once."""
    with Service(dataset.url, SERVER=server, WEB_CONCURRENCY=PROCESSES) as service:
        for name, make_load in LOADS.items():
            progress(name)
            run_load(service.port, make_load(dataset), WARM_UP_SECONDS)
            load, pending = make_load(dataset), dataset.count("pending")
            before = server_cpu(service), postgres_cpu(dataset.url)
            result = run_load(service.port, load, seconds)
            after = server_cpu(service), postgres_cpu(dataset.url)
            if name == "claim" and pending - dataset.count("pending") != len(result.latencies):
                raise SystemExit("a claim found no job")
            used, postgres_used = map(seconds_used, before, after)
            yield Measurement.of(Case(server, dataset.jobs, name), result, used, postgres_used)
    dataset.restore()


def count_round_trips(server: str, dataset: Dataset) -> dict[str, int]:
    """Return the round trips to PostgreSQL of a request, by load: the median of some requests.

    The first requests open connections and prepare statements, and are not counted. The service
    does nothing in the background.
    """
    proxy = CountingProxy(make_url(dataset.url))
    found = {}
    with Service(proxy.url, SERVER=server, **ALONE) as service:
        for name, make_load in LOADS.items():
            load = make_load(dataset)
            counts = []
            for _ in range(2 * COUNTED_REQUESTS):
                one = dataclasses.replace(load, limit=1)
                before = len(proxy.round_trips)
                run_load(service.port, one, seconds=1, connections=1)
                counts.append(len(proxy.round_trips) - before)
            found[name] = round(statistics.median(counts[COUNTED_REQUESTS:]))
    proxy.close()
    dataset.restore()
    return found


def run(options: argparse.Namespace) -> Results:
    """Fill the databases, and measure all cases in alternating rounds."""
    measurements: list[Measurement] = []
    with filled_databases(options.sizes) as datasets:
        round_trips = {}
        for server in options.servers:
            show_progress(f"counting round trips, {server}")
            round_trips[server] = count_round_trips(server, datasets[0])
        for number in range(options.rounds):
            for dataset in reversed(datasets) if number % 2 else datasets:
                for server in reversed(options.servers) if number % 2 else options.servers:
                    place = f"round {number + 1} of {options.rounds}: {server}, {dataset.jobs:,}"

                    def progress(load: str, place: str = place) -> None:
                        show_progress(f"{place} jobs, {load}")

                    progress("starting")
                    measurements += measure(server, dataset, options.seconds, progress)
        return Results(describe(datasets[0].url), measurements, round_trips)


def check_growth(results: Results, small: int, large: int) -> bool:
    """Print how the cost grows with the number of jobs; return whether it is within the bound."""
    within = True
    for server in results.servers():
        for load in BOUNDED_LOADS:
            ratios = results.cost_ratios(server, load, small, large)
            fits = statistics.median(ratios) <= MAX_RATIO
            within = within and fits
            print_result(
                f"CPU of a {load} under {server} at {large:,} jobs against {small:,}:"
                f" {summarize(ratios)}, {'within' if fits else 'ABOVE'} {MAX_RATIO}"
            )
    return within


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small databases, and one short round")
    parser.add_argument("--rounds", type=int, help="rounds (default 3, quick 1)")
    parser.add_argument(
        "--seconds", type=float, help="seconds of each load in a round (default 2, quick 1)"
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        metavar="JOBS",
        help="numbers of jobs, ascending (default 1000 100000 1000000, quick 1000 10000)",
    )
    parser.add_argument(
        "--servers",
        nargs="+",
        choices=SERVERS,
        help="servers (default: gunicorn, and granian if it is installed)",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to a file")
    parser.add_argument("--svg", type=Path, metavar="PATH", help="write a plot to a file")
    parser.set_defaults(rounds=3, seconds=2.0, sizes=list(SIZES))
    if parser.parse_args().quick:
        parser.set_defaults(rounds=1, seconds=1.0, sizes=list(QUICK_SIZES))
    return parser.parse_args()


def main() -> None:
    """Run the benchmark with the options of the command line."""
    options = parse_arguments()
    installed = installed_servers()
    if missing := [name for name in options.servers or SERVERS if name not in installed]:
        print_result(f"skipped, not installed: {', '.join(missing)}")
    options.servers = [name for name in options.servers or SERVERS if name in installed]
    results = run(options)
    print_result(
        f"{CONDITIONS}, {EVENTS_OF_A_JOB} events for each job; medians of {options.rounds} rounds"
        f" of {options.seconds:g} s; times in ms, CPU for each request"
    )
    print_result(in_words(results.machine))
    for line in results.table():
        print_result(line)
    print_result(
        f"The generator of the load used {results.generator_cpu():.3f} ms for each request."
    )
    if options.json:
        options.json.write_text(json.dumps(results.as_json(), indent=1) + "\n")
    if options.svg:
        options.svg.write_text(request_chart.draw(results, CONDITIONS))
    if not check_growth(results, options.sizes[0], options.sizes[-1]):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        show_progress("")
        sys.exit(130)
