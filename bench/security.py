"""Measures the cost of each protection for a GET and a PUT of a job, in paired rounds.

The protections are API keys, rate limits, PostgreSQL's row security, and the hash that chains each
event to the one before. Each of them alone, and all together, is compared with the same service
without them. The measurement covers the application and its PostgreSQL: it calls the application in
this process as gunicorn does, without the network.
"""

import argparse
import dataclasses
import io
import json
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy.engine import make_url
from werkzeug.test import EnvironBuilder

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.events.queries import event_hash
from app.factory import create_app
from app.jobs import change_queries
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
        if settings.auth == "keys":
            with self._app.app_context():
                key, _ = keys.create("bench", [Scope.ALL], None, None)
            self._headers["Authorization"] = f"Bearer {key}"

    def make_jobs(self) -> list[str]:
        """Create the jobs that the calls read and update; return their ids."""
        new = [{"domain": new_domain()} for _ in range(JOBS // 2)]
        return [job["id"] for _ in range(2) for job in self._call("POST", PATH, new)["data"]]

    def seconds(self, method: str, ids: list[str], times: int) -> float:
        """Return the mean duration of `times` calls in seconds, each of a random job."""
        calls = [
            self._environ(method, f"{PATH}/{random.choice(ids)}", self._body(method))  # noqa: S311
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


@contextmanager
def unchained() -> Iterator[None]:
    """Record events without the hash chain."""
    chained = change_queries.CHANGE
    previous = "(SELECT cur.chain FROM cur)"
    sql = chained.sql.replace(event_hash(previous, "f"), "''::bytea")
    if sql == chained.sql:
        raise SystemExit("the statement has no chain to leave out")
    change_queries.CHANGE = dataclasses.replace(chained, sql=sql)
    try:
        yield
    finally:
        change_queries.CHANGE = chained


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

    with databases(1) as (url,), ExitStack() as stack:
        other_role = role(url)
        services = {
            "open": ProtectedService(Settings(database_url=url, auth="off", **NO_LIMITS)),
            "keys": ProtectedService(Settings(database_url=url, **NO_LIMITS)),
            "rate limits": ProtectedService(Settings(database_url=url, auth="off", **LIMITS)),
            "row security": ProtectedService(
                Settings(database_url=other_role, auth="off", **NO_LIMITS)
            ),
            "all of these": ProtectedService(Settings(database_url=other_role, **LIMITS)),
        }
        for service in services.values():
            stack.callback(service.close)
        ids = services["open"].make_jobs()
        vacuum(url)
        found = [
            seconds(services, ids, options.times, f"round {number} of {count}")
            for number in range(count + 1)
        ][1:]
        print_result(f"cost of each protection ({count} paired rounds of {options.times} calls):")
        for what, other, base in (
            *(
                (f"{name}, {method}", (name, method), ("open", method))
                for name in list(services)[1:]
                for method in ("GET", "PUT")
            ),
            ("the chained history, PUT", ("open", "PUT"), ("unchained", "PUT")),
        ):
            ratios = [one[other] / one[base] for one in found]
            slow, quick = (
                statistics.median(one[which] for one in found) * 1000 for which in (other, base)
            )
            print_result(
                f"  {what}: {slow:.2f} ms and {quick:.2f} ms without, ratio {summarize(ratios)}"
            )


def seconds(
    services: Mapping[str, ProtectedService], ids: list[str], times: int, label: str
) -> dict[tuple[str, str], float]:
    """Return the seconds of a call by service and method, measured once in a random order."""
    show_progress(label)
    measures = [
        *((name, method) for name in services for method in ("GET", "PUT")),
        ("unchained", "PUT"),
    ]
    found = {}
    for name, method in random.sample(measures, len(measures)):
        with unchained() if name == "unchained" else ExitStack():
            found[name, method] = services.get(name, services["open"]).seconds(method, ids, times)
    return found


if __name__ == "__main__":
    main()
