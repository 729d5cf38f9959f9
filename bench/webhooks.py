"""Measures the webhooks: deliveries per second, and the cost of bad receivers for the API.

(a) One dispatcher process delivers a backlog of status changes, inserted by SQL, to one receiver in
a separate process. (b) The latency of progress PUTs through gunicorn, in alternating rounds:
without endpoints, and with three endpoints that have a backlog of due deliveries. One of them
hangs, one drips, and one refuses connections.
"""

import argparse
import multiprocessing
import selectors
import socket
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import psycopg2
import requests

from app.webhooks.signing import new_secret
from bench.ground import databases, execute, print_result, show_progress
from support.receiver import Receiver
from support.service import Dispatcher, Service, free_port
from support.webhooks import ALLOW_LOOPBACK, insert_backlog

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"

ENDPOINT = """INSERT INTO webhook_endpoints (id, url, active, secret, created_at, updated_at)
    VALUES (gen_random_uuid(), %s, true, %s, now(), now()) RETURNING id"""

EVENTS = """
    WITH job AS (
        INSERT INTO scrape_jobs
            (id, domain_id, domain, job_type, priority, max_retries, status, started_at, version,
             config, metadata, created_at, updated_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 'example.com', 'full', 5, 3, 'running', now(),
            2, '{}', '{}', now(), now()
        FROM generate_series(1, %s) RETURNING id
    ), event AS (
        INSERT INTO job_events
            (job_id, seq, at, action, old_status, new_status, actor_type, changes, stats)
        SELECT id, 2, now(), 'updated', 'pending', 'running', 'anonymous', '{}',
            '{"pagesProcessed": 100}'
        FROM job
    )
    INSERT INTO outbox (job_id, seq, created_at) SELECT id, 2, now() FROM job"""


def receive(pipe: Connection, count: int) -> None:
    """Answer all requests with 204; after `count` requests, send the first and last time."""
    server = socket.create_server(("127.0.0.1", 0), backlog=256)
    pipe.send(server.getsockname()[1])
    selector = selectors.DefaultSelector()
    selector.register(server, selectors.EVENT_READ, None)
    moments: list[float] = []
    while len(moments) < count:
        for key, _ in selector.select(60):
            if key.data is None:
                accepted, _ = server.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ, bytearray())
                continue
            connection, read = key.fileobj, key.data
            assert isinstance(connection, socket.socket)
            chunk = connection.recv(65536)
            if not chunk:
                selector.unregister(connection)
                connection.close()
                continue
            read += chunk
            head, separator, body = bytes(read).partition(b"\r\n\r\n")
            if separator and len(body) >= _content_length(head):
                read.clear()
                connection.sendall(ANSWER)
                moments.append(time.monotonic())
    pipe.send((moments[0], moments[-1]))


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def throughput(url: str, events: int) -> float:
    """Return the deliveries per second of one dispatcher with a backlog."""
    here, there = multiprocessing.Pipe()
    receiver = multiprocessing.Process(target=receive, args=(there, events), daemon=True)
    receiver.start()
    target = f"http://127.0.0.1:{here.recv()}/hook"
    execute(url, (ENDPOINT, (target, f"clear:{new_secret()}")), (EVENTS, (events,)))
    with Dispatcher(url, **ALLOW_LOOPBACK):
        if not here.poll(120):
            raise SystemExit("the deliveries did not arrive within 120 s")
        first, last = here.recv()
    receiver.join()
    execute(
        url,
        *((f"DELETE FROM {table}", ()) for table in ("webhook_deliveries", "webhook_endpoints")),  # noqa: S608
    )
    return float((events - 1) / (last - first))


def put_latency(service: Service, job_id: str, puts: int) -> float:
    """Return the median latency of progress PUTs, in milliseconds."""
    seconds = []
    with requests.Session() as session:
        for number in range(puts):
            started = time.perf_counter()
            answer = session.put(
                f"{service.jobs}/{job_id}", json={"stats": {"pagesProcessed": number}}, timeout=30
            )
            seconds.append(time.perf_counter() - started)
            answer.raise_for_status()
    return statistics.median(seconds) * 1000


def rounds(url: str, count: int, puts: int, backlog: int) -> list[tuple[float, float]]:
    """Return the median latency with bad endpoints and without endpoints, for each round."""
    none = [(f"DELETE FROM {table}", ()) for table in ("webhook_endpoints", "webhook_deliveries")]  # noqa: S608
    found = []
    with Receiver() as bad, Service(url, **ALLOW_LOOPBACK) as service:
        job_id = service.create()["id"]
        put_latency(service, job_id, puts)
        for number in range(count):
            pair = {}
            for with_endpoints in (True, False) if number % 2 else (False, True):
                case = "with" if with_endpoints else "without"
                show_progress(f"(b) round {number + 1} of {count}, {case} bad endpoints")
                execute(url, *none)
                if with_endpoints:
                    dead = f"http://127.0.0.1:{free_port()}/dead"
                    insert_endpoints(url, (f"{bad.url}/hang", f"{bad.url}/drip", dead), backlog)
                time.sleep(1.5)
                pair[with_endpoints] = put_latency(service, job_id, puts)
            found.append((pair[True], pair[False]))
        execute(url, *none)
    return found


def insert_endpoints(url: str, targets: Sequence[str], backlog: int) -> None:
    """Insert endpoints, each with a backlog of due deliveries."""
    for target in targets:
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(ENDPOINT, (target, f"clear:{new_secret()}"))
            (endpoint_id,) = cursor.fetchall()[0]
        connection.close()
        insert_backlog(url, endpoint_id, backlog)


def main() -> None:
    """Run the measurements that the command line selects."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work, and fewer rounds"
    )
    parser.add_argument(
        "--events", type=int, help="(a) status changes of the backlog (default 5000, quick 500)"
    )
    parser.add_argument("--repeats", type=int, help="(a) number of runs (default 3, quick 1)")
    parser.add_argument("--rounds", type=int, help="(b) pairs of rounds (default 8, quick 2)")
    parser.add_argument("--puts", type=int, help="(b) PUTs a round (default 600, quick 60)")
    parser.add_argument(
        "--backlog", type=int, help="(b) pending deliveries of each (default 2000, quick 200)"
    )
    parser.add_argument("--only", choices=("a", "b"), help="run only this measurement")
    parser.set_defaults(events=5000, repeats=3, rounds=8, puts=600, backlog=2000)
    if parser.parse_args().quick:
        parser.set_defaults(events=500, repeats=1, rounds=2, puts=60, backlog=200)
    options = parser.parse_args()

    with databases(1) as (url,):
        if options.only != "b":
            rates = []
            for number in range(options.repeats):
                show_progress(f"(a) {options.events} deliveries, {number + 1} of {options.repeats}")
                rates.append(throughput(url, options.events))
            print_result(
                f"(a) one dispatcher to one receiver: {statistics.median(rates):.0f}"
                f" deliveries a second ({min(rates):.0f} to {max(rates):.0f};"
                f" {options.events} each)"
            )
        if options.only != "a":
            pairs = rounds(url, options.rounds, options.puts, options.backlog)
            ratios = [disturbed / undisturbed for disturbed, undisturbed in pairs]
            bad, good = (statistics.median(values) for values in zip(*pairs, strict=True))
            print_result(
                f"(b) PUT beside bad endpoints: {bad:.2f} ms, without any: {good:.2f} ms,"
                f" ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f};"
                f" medians of {options.rounds} paired rounds)"
            )


if __name__ == "__main__":
    main()
