"""Measures event streams: their cost for the API, the delay of a frame, and bulk cancellation.

(a) The latency of reads and progress PUTs through gunicorn with 4 threads, in alternating rounds:
without streams, and with 32 and 200 streams that show every change. (b) The CPU of 200 streams
while nothing changes. (c) The time from the answer of an update to the frame. (d) The time to
cancel 1,000 jobs.
"""

import argparse
import random
import select
import socket
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import requests

from bench.ground import databases, print_result, show_progress, summarize
from support.service import Service
from support.streams import EventSource

CLIENTS = 4
JOBS = 20
STREAMS = (32, 200)
SETTINGS = {"WEB_CONCURRENCY": "2", "THREADS": "4", "SCRAPE_JOBS_STREAMS": "120"}


@contextmanager
def open_streams(service: Service, number: int) -> Iterator[None]:
    """Open streams of all jobs, and read what they show."""
    stopped = threading.Event()
    connections = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(number)]
    for connection in connections:
        connection.sendall(b"GET /api/scrape-jobs/events HTTP/1.1\r\nHost: x\r\n\r\n")

    def read() -> None:
        while not stopped.is_set():
            for connection in select.select(connections, [], [], 0.2)[0]:
                connection.recv(65536)

    reader = threading.Thread(target=read)
    if connections:
        reader.start()
        time.sleep(1)  # until all are served
    yield
    stopped.set()
    if connections:
        reader.join()
    for connection in connections:
        connection.close()


def latencies(service: Service, ids: Sequence[str], seconds: float) -> list[float]:
    """Read and update the jobs from several clients, and return the sorted durations."""
    end = time.monotonic() + seconds

    def call(client: int) -> list[float]:
        found: list[float] = []
        with requests.Session() as session:
            while time.monotonic() < end:
                url = f"{service.jobs}/{ids[(7 * client + len(found)) % len(ids)]}"
                began = time.perf_counter()
                if len(found) % 2:
                    session.get(url, timeout=10)
                else:
                    session.put(url, json={"stats": {"pagesProcessed": len(found)}}, timeout=10)
                found.append(time.perf_counter() - began)
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        return sorted(duration for found in pool.map(call, range(CLIENTS)) for duration in found)


def p95(durations: Sequence[float]) -> float:
    """Return the 95th percentile of sorted durations."""
    return durations[int(len(durations) * 0.95)]


def measure_api(service: Service, ids: Sequence[str], rounds: int, seconds: float) -> None:
    """Print the API's latency with streams, relative to that without."""
    latencies(service, ids, 1)
    base: list[float] = []
    found: dict[int, list[float]] = {number: [] for number in STREAMS}
    for done in range(rounds):
        show_progress(f"streams beside requests: round {done + 1} of {rounds}")
        base.append(p95(latencies(service, ids, seconds)))
        for number in STREAMS:
            with open_streams(service, number):
                found[number].append(p95(latencies(service, ids, seconds)))
            time.sleep(1)  # until the server has noticed
    print_result(f"API p95 without streams: {statistics.median(base) * 1000:.1f} ms")
    for number, values in found.items():
        ratios = [value / before for value, before in zip(values, base, strict=True)]
        print_result(f"API p95 with {number} streams, relative: {summarize(ratios)}")


def measure_idle(service: Service, seconds: float) -> None:
    """Print the CPU of streams that show nothing."""

    def cpu() -> float:
        times = [worker.cpu_times() for worker in service.workers()]
        return sum(each.user + each.system for each in times)

    def used() -> float:
        before = cpu()
        time.sleep(seconds)
        return (cpu() - before) / seconds * 100

    alone = used()
    with open_streams(service, STREAMS[-1]):
        beside = used()
    print_result(f"CPU of {STREAMS[-1]} idle streams: {beside - alone:.1f} % of a core")


def measure_delay(service: Service, samples: int) -> None:
    """Print the time from the answer of an update to its frame."""
    job = service.create()["id"]
    delays: list[float] = []
    with EventSource(f"{service.jobs}/{job}/events").ready() as source:
        for number in range(samples):
            time.sleep(1.1 + random.random() / 2)  # noqa: S311 - no secret
            service.change(job, stats={"pagesProcessed": number})
            answered = time.time()
            source.wait_for_version(job, number + 2)
            delays.append(source.frames[-1].at - answered)
    delays.sort()
    median = statistics.median(delays)
    print_result(f"delay of a frame: p50 {median * 1000:.0f} ms, p95 {p95(delays) * 1000:.0f} ms")


def measure_bulk(service: Service) -> None:
    """Print the time to cancel 1,000 jobs."""
    jobs = requests.post(service.jobs, json=[{"domain": "example.com"}] * 1000, timeout=30).json()
    ids = [job["id"] for job in jobs["data"]]
    began = time.monotonic()
    answer = requests.post(f"{service.jobs}/cancel", json={"ids": ids}, timeout=30).json()
    seconds = time.monotonic() - began
    print_result(f"cancelling {answer['counts']['cancelled']} jobs: {seconds:.2f} s")


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    with databases(1) as (url,), Service(url, **SETTINGS) as service:
        ids = [service.create()["id"] for _ in range(JOBS)]
        for job in ids:
            service.change(job, status="running")
        measure_bulk(service)
        measure_idle(service, 2 if quick else 10)
        measure_api(service, ids, 2 if quick else 7, 3 if quick else 8)
        measure_delay(service, 10 if quick else 60)


if __name__ == "__main__":
    main()
