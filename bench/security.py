"""Measures the cost of each protection for a GET and a PUT of a job, in paired rounds.

The protections are API keys, rate limits, PostgreSQL's row security, and the hash that chains each
event to the one before. Each of them alone, and all together, is compared with the same service
without them. The measurement covers the application and its PostgreSQL: it calls the application in
this process as gunicorn does, without the network.
"""

import argparse
import io
import json
import random
import statistics
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg2
from sqlalchemy.engine import make_url
from werkzeug.test import EnvironBuilder

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from bench.ground import databases, execute, print_result, show_progress, summarize, vacuum
from support.factories import new_domain

JOBS = 2_000
PATH = "/api/scrape-jobs"
LIMIT = 10_000_000
NO_LIMITS: Mapping[str, Any] = {"rate_limit": False}
LIMITS: Mapping[str, Any] = {
    "rate_limit": True,
    "rate_limit_reads": LIMIT, "rate_limit_updates": LIMIT, "rate_limit_creations": LIMIT,
    "rate_limit_job": LIMIT,
}  # fmt: skip
PROTECTIONS = ("keys", "rate limits", "row security", "all of these")
UNCHAINED = "unchained"
STATS = {
    "pagesProcessed": 45, "totalPages": 150, "errors": 2,
    "performance": {
        "avgResponseTime": 1200, "memoryUsage": "150MB", "cpuUsage": 45.2, "networkLatency": 250,
    },
    "dataExtracted": {"products": 120, "images": 480, "links": 960},
}  # fmt: skip


class ProtectedService:
    """The application with some of the protections, called through WSGI."""

    def __init__(self, settings: Settings) -> None:
        self._app = create_app(settings)
        self._headers: dict[str, str] = {}
        self.job_ids: list[str] = []
        if settings.auth == "keys":
            with self._app.app_context():
                key, _ = keys.create("bench", [Scope.ALL], None, None)
            self._headers["Authorization"] = f"Bearer {key}"

    def make_jobs(self) -> list[str]:
        """Create the jobs that the calls read and update; return their ids."""
        new = [{"domain": new_domain()} for _ in range(JOBS // 2)]
        return [job["id"] for _ in range(2) for job in self._call("POST", PATH, new)["data"]]

    def seconds(self, method: str, times: int) -> float:
        """Return the mean duration of `times` calls in seconds, each of one of `job_ids`."""
        calls = [
            self._environ(method, f"{PATH}/{random.choice(self.job_ids)}", self._body(method))  # noqa: S311
            for _ in range(times)
        ]
        started = time.perf_counter()
        for environ in calls:
            self._answer(environ)
        return (time.perf_counter() - started) / times

    def close(self) -> None:
        """Close the connections to the database."""
        with self._app.app_context():
            self._app.extensions["sqlalchemy"].engine.dispose()

    def _body(self, method: str) -> Any:
        return (
            {"stats": {**STATS, "pagesProcessed": random.randrange(10**6)}}  # noqa: S311
            if method == "PUT"
            else None
        )

    def _environ(self, method: str, path: str, body: Any) -> dict[str, Any]:
        return EnvironBuilder(
            path=path, method=method, json=body, headers=self._headers.items()
        ).get_environ()

    def _answer(self, environ: dict[str, Any]) -> bytes:
        status: list[str] = []

        def start(line: str, _headers: object, _error: object = None) -> Callable[[bytes], object]:
            status.append(line)
            return io.BytesIO().write

        answer = self._app.wsgi_app(environ, start)
        body = b"".join(answer)
        if not status[0].startswith("2"):
            raise SystemExit(f"{status[0]}: {body.decode()}")
        return body

    def _call(self, method: str, path: str, body: Any) -> Any:
        return json.loads(self._answer(self._environ(method, path, body)))


UNHASHED = """
    CREATE OR REPLACE FUNCTION pg_catalog.sha256(bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
    AS 'SELECT $$$$::bytea'"""
"""Replaces the hash of events, and the content that it covers, by an empty value.

PostgreSQL puts the body of such a function in place of its call, wherever the call is.
"""


def check_unhashed(url: str) -> None:
    """Check that the database has events, but no hashes."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(*) FILTER (WHERE hash <> '') FROM job_events")
        ((events, hashed),) = cursor.fetchall()
    connection.close()
    if hashed or not events:
        raise SystemExit(f"{hashed} of {events} events have a hash that was to be left out")


def role(url: str) -> str:
    """Return the URL of a role that has all rights on the tables, but does not own them."""
    name = f"bench_{uuid.uuid4().hex}"
    execute(
        url,
        (f"CREATE ROLE {name} LOGIN", ()),
        (f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}", ()),
    )
    return make_url(url).set(username=name).render_as_string(hide_password=False)


def main() -> None:
    """Run the measurement with the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--rounds", type=int, help="rounds (default 25, quick 4)")
    parser.add_argument("--times", type=int, default=200, help="calls a round (default 200)")
    options = parser.parse_args()
    count = options.rounds or (4 if options.quick else 25)

    with databases(2) as (url, unhashed_url), ExitStack() as stack:
        services = make_services(url, unhashed_url)
        for service in services.values():
            stack.callback(service.close)
        rounds = [
            measure(services, options.times, f"round {number} of {count}")
            for number in range(count + 1)
        ][1:]
        check_unhashed(unhashed_url)
    print_result(f"cost of each protection ({count} paired rounds of {options.times} calls):")
    for protection in PROTECTIONS:
        for method in ("GET", "PUT"):
            print_cost(rounds, f"{protection}, {method}", (protection, method), ("open", method))
    print_cost(rounds, "the chained history, PUT", ("open", "PUT"), (UNCHAINED, "PUT"))


def make_services(url: str, unhashed_url: str) -> dict[str, ProtectedService]:
    """Return the services to compare, by name, with their jobs."""
    execute(unhashed_url, (UNHASHED, ()))
    other_role = role(url)
    settings = {
        "open": Settings(database_url=url, auth="off", **NO_LIMITS),
        "keys": Settings(database_url=url, **NO_LIMITS),
        "rate limits": Settings(database_url=url, auth="off", **LIMITS),
        "row security": Settings(database_url=other_role, auth="off", **NO_LIMITS),
        "all of these": Settings(database_url=other_role, **LIMITS),
        UNCHAINED: Settings(database_url=unhashed_url, auth="off", **NO_LIMITS),
    }
    services = {name: ProtectedService(each) for name, each in settings.items()}
    job_ids = services["open"].make_jobs()
    for name, service in services.items():
        service.job_ids = service.make_jobs() if name == UNCHAINED else job_ids
    for each in (url, unhashed_url):
        vacuum(each)
    return services


Call = tuple[str, str]
"""A service and a method."""


def measure(services: Mapping[str, ProtectedService], times: int, label: str) -> dict[Call, float]:
    """Return the seconds of each kind of call, measured once in a random order."""
    show_progress(label)
    calls = [(name, method) for name in services for method in ("GET", "PUT")]
    return {
        (name, method): services[name].seconds(method, times)
        for name, method in random.sample(calls, len(calls))
    }


def print_cost(rounds: Sequence[Mapping[Call, float]], what: str, other: Call, base: Call) -> None:
    """Print the seconds of a call with a protection and without it, and their ratio."""
    slow, quick = (
        statistics.median(seconds[call] for seconds in rounds) * 1000 for call in (other, base)
    )
    ratios = [seconds[other] / seconds[base] for seconds in rounds]
    print_result(f"  {what}: {slow:.2f} ms and {quick:.2f} ms without, ratio {summarize(ratios)}")


if __name__ == "__main__":
    main()
