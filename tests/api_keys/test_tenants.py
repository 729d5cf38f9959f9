"""Customers that share one service: what the key of one is answered, and does, is as if no other
customer existed."""

import contextlib
import json
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from flask import Flask
from sqlalchemy.engine import make_url
from werkzeug.test import TestResponse

from app import database
from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.database import Statement, tenant_scope
from app.errors import JobNotFound, LeaseLost
from app.events.provenance import ANONYMOUS, Provenance
from app.factory import create_app
from app.jobs import leases, list_queries
from app.jobs import service as jobs
from app.jobs.changes import Preconditions
from app.jobs.queries import Retry
from app.queue import sweeper
from app.statistics import service as figures
from app.webhooks.fan_out import FanOut
from support.database import migrate, new_database
from support.receiver import Receiver
from support.service import wait_until
from support.statements import statements
from tests.jobs.test_round_trips import Proxy

JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"
NIL, NOWHERE = str(uuid.UUID(int=0)), "0190f3a0-0000-7000-8000-000000000000"
HOOK = {"url": "http://93.184.216.34/hook"}
SINCE = {"failed_since": "2020-01-01T00:00:00Z"}
MERGE = "application/merge-patch+json"
OF_A_CUSTOMER = sorted(set(Scope) - {Scope.ALL, Scope.METRICS_READ})


def settings(url: str, **more: Any) -> Settings:
    return Settings(**{"database_url": url, "rate_limit": False, "threads": 8, **more})


def dispose(app: Flask) -> None:
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def make_key(app: Flask, customer: str | None) -> str:
    with app.app_context():
        scopes = [Scope.ALL] if customer is None else OF_A_CUSTOMER
        return str(
            keys.create("a test's key", scopes, uuid.UUID(customer) if customer else None, None)[0]
        )


@dataclass(frozen=True)
class Holder:
    """Whoever holds a key to an application."""

    app: Flask
    key: str

    def ask(self, method: str, path: str, json: Any = None, **headers: str) -> TestResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Authorization"] = f"Bearer {self.key}"
        return self.app.test_client().open(path, method=method, json=json, headers=sent)

    def data(self, method: str, path: str, json: Any = None, **named: str) -> Any:
        answer = self.ask(method, path, json, **named)
        assert answer.status_code < 300, answer.text
        return answer.get_json()["data"]

    def create(self, **fields: Any) -> dict[str, Any]:
        job: dict[str, Any] = self.data("POST", JOBS, {"domain": "shared.example", **fields})
        return job

    def failed(self, **fields: Any) -> dict[str, Any]:
        """Create a job and let it fail."""
        job = self.create(**fields)
        for status in ("running", "failed"):
            job = self.data(
                "PUT", f"{JOBS}/{job['id']}", {"status": status, "error_message": "It broke"}
            )
        return job


class House:
    """An application with keys on, and holders of keys of two customers, of which the tests call
    one A, one B."""

    def __init__(self, url: str, **more: Any) -> None:
        self.url = url
        self.app = create_app(settings(url, **more))
        self.a_id, self.b_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.admin, self.a, self.b = (self.holder(owner) for owner in (None, self.a_id, self.b_id))

    def holder(self, customer: str | None) -> Holder:
        return Holder(self.app, make_key(self.app, customer))

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        return sql(self.url, text, *values)


def sql(url: str, text: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(text, values or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def url(server_url: str) -> Iterator[str]:
    for url in new_database(server_url):
        migrate(url)
        for table in TABLES:  # so that nothing but the service touches a row
            sql(url, f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        yield url


@contextmanager
def house_at(url: str, **more: Any) -> Iterator[House]:
    house = House(url, **more)
    try:
        yield house
    finally:
        dispose(house.app)


@pytest.fixture
def house(url: str) -> Iterator[House]:
    """A house of new customers, in a database where those of other tests may have jobs as well."""
    with house_at(url) as house:
        yield house


# ------------------------------------------------------------------------------------------ as if nobody else was there

TABLES = (
    "scrape_jobs", "job_events", "outbox", "uncounted_events", "webhook_endpoints", "webhook_deliveries",
    "idempotency_keys", "job_totals", "job_duration_totals", "job_error_totals",
)  # fmt: skip
DOMAINS = ("one.example", "two.example", "three.example")
TYPES = ("domain_scrape", "sitemap")
STATUSES = ("pending", "running", "completed", "failed", "cancelled")
SORTS = ("created_at", "-created_at", "priority", "updated_at", "-updated_at")
GROUPS = ("", "domain", "job_type", "hour", "day")

WITHOUT_OTHERS = (
    "CREATE TEMP TABLE foreign_jobs AS SELECT id FROM scrape_jobs WHERE customer_config_id IS DISTINCT FROM %(a)s",
    "CREATE TEMP TABLE foreign_hooks AS SELECT id FROM webhook_endpoints"
    " WHERE customer_config_id IS DISTINCT FROM %(a)s",
    "CREATE TEMP TABLE foreign_keys AS SELECT id FROM api_keys WHERE customer_config_id IS DISTINCT FROM %(a)s",
    "DELETE FROM scrape_jobs WHERE id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM job_events WHERE job_id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM outbox WHERE job_id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM uncounted_events WHERE job_id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM webhook_endpoints WHERE id IN (SELECT id FROM foreign_hooks)",
    "DELETE FROM webhook_deliveries WHERE endpoint_id IN (SELECT id FROM foreign_hooks)"
    " OR job_id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM idempotency_keys WHERE caller IN (SELECT id FROM foreign_keys)",
    "DELETE FROM api_keys WHERE id IN (SELECT id FROM foreign_keys)",
    "TRUNCATE job_totals, job_duration_totals, job_error_totals",
)
"""What leaves of a database what is A's alone; but for the totals, which are then counted anew."""


@dataclass
class Known:
    """What somebody knows of a customer's things, by what he was answered."""

    jobs: list[str] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)


class World:
    """A database with two customers and an administrator, who all do things by chance."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.chance = Random(seed)
        self.known = {house.a_id: Known(), house.b_id: Known(), None: Known()}
        self.replays: list[tuple[Holder, str, Any, str]] = []
        self.second = house.holder(house.a_id)
        """Another key of A's."""

    def act(self) -> None:
        """Do one thing, as somebody."""
        chance, house = self.chance, self.house
        owner = chance.choice([house.a_id, house.a_id, house.b_id, house.b_id, None])
        by_owner = {house.a_id: [house.a, self.second], house.b_id: [house.b], None: [house.admin]}
        holder = chance.choice(by_owner[owner])
        # An administrator may do all_customers to anybody's things.
        whose = chance.choice(list(self.known)) if owner is None else owner
        chance.choices(
            [self.create, self.claim, self.change, self.give, self.hook, self.deliver],
            [6, 3, 10, 3, 2, 1],
        )[0](holder, whose, self.known[whose])

    def create(self, holder: Holder, whose: str | None, known: Known) -> None:
        chance = self.chance
        wanted = [
            self.job(whose, is_named=holder is self.house.admin)
            for _ in range(chance.choice([1, 1, 1, 4]))
        ]
        body: Any = wanted[0] if len(wanted) == 1 else wanted
        made = self.post(holder, JOBS, body)
        known.jobs += (
            [job["id"] for job in (made if isinstance(made, list) else [made])] if made else []
        )

    def job(self, whose: str | None, *, is_named: bool) -> dict[str, Any]:
        chance = self.chance
        return {
            "domain": chance.choice(DOMAINS),
            "job_type": chance.choice(TYPES),
            "priority": chance.randint(1, 10),
            "max_retries": chance.randint(0, 3),
            "metadata": {"tags": chance.sample(["red", "green"], chance.randint(0, 2))},
            "scheduled_for": chance.choice(
                [None, None, "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"]
            ),
            **({"customer_config_id": whose} if is_named or chance.random() < 0.2 else {}),
        }

    def claim(self, holder: Holder, _whose: str | None, _known: Known) -> None:
        chance = self.chance
        body: dict[str, Any] = {
            "worker_id": "w",
            "limit": chance.randint(1, 4),
            "lease_seconds": 3600,
        }
        if chance.random() < 0.5:
            body["domains"] = chance.sample(DOMAINS, 2)
        if chance.random() < 0.5:
            body["job_types"] = [chance.choice(TYPES)]
        for job in self.post(holder, f"{JOBS}/next", body) or []:
            owner = job["customer_config_id"]
            assert holder is self.house.admin or owner == self.owner_of(holder)
            self.known[owner].tokens[job["id"]] = job["lease_token"]

    def change(self, holder: Holder, _whose: str | None, known: Known) -> None:
        chance = self.chance
        if not known.jobs:
            return
        path = f"{JOBS}/{chance.choice(known.jobs)}"
        if chance.random() < 0.15:
            self.done(holder.ask("DELETE", path))
            return
        performance = {
            "memoryUsage": f"{chance.randint(1, 9)}MB",
            "cpuUsage": chance.randint(1, 90),
        }
        body = {
            "status": chance.choice(STATUSES[1:]),
            "stats": {"pagesProcessed": chance.randint(1, 50), "performance": performance},
            "error_message": chance.choice(["Timeout after 3 s", "No route to 10.0.0.1", None]),
            "started_at": "2024-01-01T00:00:00Z",
            "completed_at": f"2024-01-01T00:{chance.randint(10, 59)}:00Z",
        }
        self.done(holder.ask("PUT", path, body))

    def give(self, holder: Holder, _whose: str | None, known: Known) -> None:
        """Do something with a lease, or retry."""
        chance = self.chance
        if not known.jobs:
            return
        job = chance.choice(sorted(known.tokens) or known.jobs)
        token = {"X_Lease_Token": known.tokens[job]} if job in known.tokens else {}
        what = chance.choice(["heartbeat", "release", "retry"])
        self.done(holder.ask("POST", f"{JOBS}/{job}/{what}", {}, **token))

    def hook(self, holder: Holder, _whose: str | None, known: Known) -> None:
        chance = self.chance
        if len(known.hooks) < 2:
            if holder is not self.house.admin or known is self.known[None]:
                known.hooks.append(self.data_of(holder.ask("POST", HOOKS, HOOK))["id"])
            return
        path = f"{HOOKS}/{chance.choice(known.hooks)}"
        match chance.choice(["test", "rotate-secret", "PUT", "PUT", "DELETE"]):
            case "PUT":
                domains = chance.choice([None, [DOMAINS[0]], [*DOMAINS[1:]]])
                self.done(
                    holder.ask("PUT", path, {"domains": domains, "active": chance.random() < 0.9})
                )
            case "DELETE":
                self.done(holder.ask("DELETE", path))
                known.hooks.remove(path.rpartition("/")[2])
            case word:
                self.done(holder.ask("POST", f"{path}/{word}"))

    def deliver(self, _holder: Holder, _whose: str | None, _known: Known) -> None:
        """Turn some of what happened into deliveries, of which some are made and some given up."""
        with self.house.app.app_context():
            FanOut().step()
        self.house.sql(
            "UPDATE webhook_deliveries SET status = (ARRAY['delivered', 'failed'])[1 + abs(hashtext(id::text) % 2)],"
            " finished_at = now() WHERE status = 'pending' AND hashtext(id::text) % 3 = 0"
        )

    def post(self, holder: Holder, path: str, body: Any) -> Any:
        """Send a POST, often with one of the few idempotency keys that everybody uses."""
        if self.chance.random() < 0.5:
            return self.data_of(holder.ask("POST", path, body))
        key = f"key-{self.chance.randint(1, 60)}"
        answer = holder.ask("POST", path, body, Idempotency_Key=key)
        if answer.status_code < 300 and "Idempotent-Replayed" not in answer.headers:
            self.replays.append((holder, path, body, key))
            return answer.get_json()["data"]
        assert answer.status_code in (200, 201, 422), answer.text
        return None

    def data_of(self, answer: TestResponse) -> Any:
        self.done(answer)
        return answer.get_json().get("data")

    def done(self, answer: TestResponse) -> None:
        assert answer.status_code < 500, answer.text

    def owner_of(self, holder: Holder) -> str | None:
        return self.house.b_id if holder is self.house.b else self.house.a_id


@contextmanager
def alone(house: House) -> Iterator[Flask]:
    """Give an application on a copy of the database in which nothing is but what is A's."""
    with house.app.app_context():
        house.app.extensions["sqlalchemy"].engine.dispose()  # a database in use cannot be copied
    source = make_url(house.url)
    name = f"{source.database}_alone"
    server = source.set(database="postgres").render_as_string(hide_password=False)
    url = source.set(database=name).render_as_string(hide_password=False)
    with closing(psycopg2.connect(server)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {source.database}")
        app = create_app(settings(url))
        try:
            with closing(psycopg2.connect(url)) as own, own, own.cursor() as statement:
                for text in WITHOUT_OTHERS:
                    statement.execute(text, {"a": house.a_id})
                statement.execute("DELETE FROM uncounted_events RETURNING job_id, seq")
                uncounted = statement.fetchall()
                statement.execute(
                    "INSERT INTO uncounted_events SELECT job_id, seq FROM job_events WHERE stats IS NOT NULL"
                    " AND (job_id::text, seq) NOT IN (SELECT * FROM unnest(%s::text[], %s::bigint[]))",
                    ([job for job, _ in uncounted], [seq for _, seq in uncounted]),
                )
            with app.app_context():
                figures.count()
            with closing(psycopg2.connect(url)) as own, own, own.cursor() as statement:
                statement.executemany("INSERT INTO uncounted_events VALUES (%s, %s)", uncounted)
            yield app
        finally:
            dispose(app)
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Comparison:
    """Asks both: the service that A shares with others, and the one in which A is alone."""

    def __init__(self, world: World, app: Flask) -> None:
        self.world = world
        self.shared, self.alone = world.house.a, Holder(app, world.house.a.key)
        self.asked = 0

    def same(self, method: str, path: str, json: Any = None, **named: str) -> TestResponse:
        """Assert that both answer the same, byte for byte, and return it."""
        self.asked += 1
        both = [
            one.ask(method, path, json, X_Request_ID="r", **named)
            for one in (self.shared, self.alone)
        ]
        shared, own = ((answer.status_code, list(answer.headers), answer.data) for answer in both)
        assert shared == own, f"{method} {path} {json} {named}"
        assert both[0].status_code < 500, both[0].text
        return both[0]

    def pages(self, path: str, limit: int) -> None:
        """Follow a list to its end."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.same(
                "GET",
                f"{path}{'&' if '?' in path else '?'}limit={limit}{cursor and '&cursor=' + cursor}",
            )
            pagination = page.get_json()["pagination"]
            cursor = pagination["next_cursor"] if pagination["has_more"] else None

    def reads(self) -> None:
        """Compare all_customers that can be read."""
        world, chance = self.world, self.world.chance
        house, own = world.house, world.known[world.house.a_id]
        times = [
            row[0].isoformat()
            for row in house.sql("SELECT created_at FROM scrape_jobs ORDER BY random() LIMIT 6")
        ]
        for sort in SORTS:
            self.pages(f"{JOBS}?sort={sort}", chance.randint(3, 20))
        filters = {
            "status": [*STATUSES, "pending,failed"],
            "domain": DOMAINS,
            "job_type": TYPES,
            "customer_config_id": [house.a_id, house.b_id, NIL],
            "tag": ["red", "green"],
            "created_after": [time.replace("+", "%2B") for time in times[:3]],
            "created_before": [time.replace("+", "%2B") for time in times[3:]],
        }
        for name, values in filters.items():
            for value in values:
                self.same("GET", f"{JOBS}?{name}={value}&sort={chance.choice(SORTS)}&limit=200")
        for _ in range(6):
            some = chance.sample(sorted(filters), 3)
            query = "&".join(f"{name}={chance.choice(list(filters[name]))}" for name in some)
            self.pages(f"{JOBS}?{query}&sort={chance.choice(SORTS)}", 5)
        for job in chance.sample(own.jobs, min(len(own.jobs), 12)):
            self.same("GET", f"{JOBS}/{job}")
            self.same("GET", f"{JOBS}/{job}/queue")
            self.pages(f"{JOBS}/{job}/history", 2)
        for limit in (1, 7, 100):
            self.same("GET", f"{JOBS}/next?limit={limit}")
        self.same("GET", f"{JOBS}/next?limit=100&domains={DOMAINS[0]},{DOMAINS[1]}")
        self.same("GET", f"{JOBS}/next?limit=100&job_types={TYPES[0]}")
        self.statistics(times)
        self.pages(HOOKS, 1)
        for hook in own.hooks:
            self.same("GET", f"{HOOKS}/{hook}")
            self.pages(f"{HOOKS}/{hook}/deliveries", 3)
            for status in ("pending", "delivered", "failed"):
                self.same("GET", f"{HOOKS}/{hook}/deliveries?status={status}&limit=200")

    def statistics(self, times: Sequence[str]) -> None:
        """Compare figures: of all time and of windows that begin and end within a minute of what
        happened."""
        house, chance = self.world.house, self.world.chance
        early, late = (time.replace("+", "%2B") for time in (min(times), max(times)))
        windows = [
            "",
            f"&from={early}",
            f"&to={late}",
            f"&from={early}&to={late}",
            "&from=2020-01-01T00:00:00Z",
        ]
        narrow = [
            "",
            f"&domain={DOMAINS[0]}",
            f"&job_type={TYPES[0]}",
            f"&customer_config_id={house.a_id}",
        ]
        for group in GROUPS:
            for window in windows:
                grouped = f"&group_by={group}" if group else ""
                self.same(
                    "GET", f"{JOBS}/stats?{(window + grouped + chance.choice(narrow)).lstrip('&')}"
                )
            self.same("GET", f"{JOBS}/stats?customer_config_id={house.b_id}{grouped}")

    def foreign_cursors(self) -> None:
        """Compare the pages that follow places in other people's lists."""
        house, b = self.world.house, self.world.known[self.world.house.b_id]
        lists = [f"{JOBS}?sort={sort}" for sort in SORTS]
        lists += [f"{JOBS}/{b.jobs[0]}/history?", f"{HOOKS}?", f"{HOOKS}/{b.hooks[0]}/deliveries?"]
        for path in lists:
            for holder in (house.admin, house.b):
                cursor = holder.ask("GET", f"{path}&limit=1").get_json()["pagination"][
                    "next_cursor"
                ]
                if cursor is not None:
                    self.same("GET", f"{path}&cursor={cursor}")

    def foreign_ids(self) -> None:
        """Compare what is answered on other people's jobs, hooks and deliveries, to which that does
        nothing."""
        world, chance = self.world, self.world.chance
        house = world.house
        before = house.sql(THE_OTHERS, house.a_id, house.a_id, house.a_id)
        for whose in (house.b_id, None):
            known = world.known[whose]
            some = [*chance.sample(known.jobs, min(3, len(known.jobs))), *sorted(known.tokens)[:2]]
            for job in some:
                token = known.tokens.get(job, "none")
                tag = house.admin.ask("GET", f"{JOBS}/{job}").headers["ETag"]
                extras = [{}, {"X_Lease_Token": token}, {"If_Match": tag}, {"If_None_Match": tag}]
                extras.append(
                    {"X_Lease_Token": token, "If_Match": tag, "Idempotency_Key": f"key-{whose}"}
                )
                for call in OF_A_JOB:
                    extra = (
                        chance.choice(extras) if call.token == "any" else {"X_Lease_Token": token}
                    )
                    answer = self.same(
                        call.method, f"{JOBS}/{job}{call.path}", call.json, **extra, **call.headers
                    )
                    assert answer.status_code == 404, (call, answer.text)
                    assert call.method == "HEAD" or answer.get_json()["error"] == "Job not found"
            own = world.known[house.a_id].hooks
            for hook in known.hooks:
                listed = house.admin.data("GET", f"{HOOKS}/{hook}/deliveries")
                for call in OF_A_HOOK:
                    answer = self.same(call.method, f"{HOOKS}/{hook}{call.path}", call.json)
                    assert answer.status_code == 404, (call, answer.text)
                for delivery in listed[:3]:
                    for through in (hook, *own):
                        path = f"{HOOKS}/{through}/deliveries/{delivery['id']}/redeliver"
                        assert self.same("POST", path).status_code in (404, 409)
        assert house.sql(THE_OTHERS, house.a_id, house.a_id, house.a_id) == before

    def creations(self) -> None:
        """Compare creations for, and with the names of, others."""
        house = self.world.house
        foreign = {"domain": DOMAINS[0], "customer_config_id": house.b_id}
        for body in (foreign, [{"domain": DOMAINS[0]}, foreign], [foreign]):
            assert self.same("POST", JOBS, body).status_code == 400
        assert (
            self.same("POST", HOOKS, {**HOOK, "customer_config_id": house.b_id}).status_code == 400
        )

    def replayed(self) -> None:
        """Compare the repetitions of A's requests; and with the keys of others, which are new to
        A."""
        mine = [one for one in self.world.replays if one[0].key == self.shared.key]
        others = {key for holder, _, _, key in self.world.replays if holder.key != self.shared.key}
        assert mine
        for _, path, body, key in mine:
            answer = self.same("POST", path, body, Idempotency_Key=key)
            assert answer.headers["Idempotent-Replayed"] == "true"
        for key in sorted(others - {key for *_, key in mine})[:3]:
            for holder in (self.alone, self.shared):
                answer = holder.ask("POST", JOBS, {"domain": DOMAINS[0]}, Idempotency_Key=key)
                assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)
            self.world.known[self.world.house.a_id].jobs.append(answer.get_json()["data"]["id"])
            self.world.replays.append((self.world.house.a, JOBS, {"domain": DOMAINS[0]}, key))

    def claims(self) -> None:
        """Compare which jobs are taken, in which order."""
        chance = self.world.chance
        known = self.world.known[self.world.house.a_id]
        for domains in (None, [DOMAINS[0]], None):
            body: dict[str, Any] = {
                "worker_id": "w",
                "limit": chance.randint(1, 3),
                "lease_seconds": 3600,
            }
            body.update({"domains": domains} if domains else {})
            shared, own = (
                one.data("POST", f"{JOBS}/next", body) for one in (self.shared, self.alone)
            )
            assert [job["id"] for job in shared] == [job["id"] for job in own]
            known.tokens.update({job["id"]: job["lease_token"] for job in shared})


@dataclass(frozen=True)
class Call:
    """A request about one thing; `token` says whether a lease's token belongs to it in any case."""

    method: str
    path: str = ""
    json: Any = None
    token: str = "any"
    headers: Mapping[str, str] = field(default_factory=dict)


OF_A_JOB = (
    Call("GET"), Call("HEAD"), Call("GET", "/history"), Call("GET", "/history?limit=1"), Call("GET", "/queue"),
    Call("PUT", json={"status": "running"}), Call("PUT", json={"stats": {"a": 1}}),
    Call("PUT", json={"status": "completed", "stats": {"a": "x" * 300_000}}),
    Call("PATCH", json={"metadata": {"a": None}}, headers={"Content_Type": MERGE}),
    Call("DELETE"), Call("DELETE", "?reason=mine"), Call("POST", "/retry", {}),
    Call("POST", "/retry", {"error_message": "x"}, token="needed"),
    Call("POST", "/release", {}, token="needed"), Call("POST", "/heartbeat", {}, token="needed"),
)  # fmt: skip
OF_A_HOOK = (
    Call("GET"), Call("PUT", json={"description": "mine"}), Call("PUT", json={"active": False}), Call("DELETE"),
    Call("POST", "/rotate-secret"), Call("POST", "/test"), Call("GET", "/deliveries"),
    Call("GET", "/deliveries?status=failed&limit=1"), Call("POST", "/redeliver", SINCE),
    Call("POST", "/replay", {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}),
)  # fmt: skip

THE_OTHERS = """
    SELECT 'job', j.id::text, j.xmin::text, j.xmax::text, j.ctid::text, j::text FROM scrape_jobs j
    WHERE j.customer_config_id IS DISTINCT FROM %s::uuid
    UNION ALL SELECT 'event', e.job_id::text, e.xmin::text, e.xmax::text, e.ctid::text, e::text
    FROM job_events e JOIN scrape_jobs j ON j.id = e.job_id WHERE j.customer_config_id IS DISTINCT FROM %s::uuid
    UNION ALL SELECT 'webhook', w.id::text, w.xmin::text, w.xmax::text,
        concat_ws(' ', w.ctid, d.ctid, d.xmax), concat(w, d)
    FROM webhook_endpoints w LEFT JOIN webhook_deliveries d ON d.endpoint_id = w.id
    WHERE w.customer_config_id IS DISTINCT FROM %s::uuid
    ORDER BY 1, 2, 5"""
"""All rows that are not A's, with the marks that a change, and even a lock, leaves on a row."""


@pytest.mark.parametrize("seed", [1, 2])
def test_a_customer_is_answered_as_if_there_were_no_other(server_url: str, seed: int) -> None:
    for url in new_database(server_url):
        migrate(url)
        for table in TABLES:
            sql(url, f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        with house_at(url) as house:
            world = World(house, seed)
            # Before anything is counted, with some of it counted, and with all.
            for actions, counts in ((110, False), (40, False), (10, True)):
                for _ in range(actions):
                    world.act()
                if counts:
                    count(house.app)
                with alone(house) as app:
                    comparison = Comparison(world, app)
                    comparison.reads()
                    comparison.foreign_cursors()
                    comparison.foreign_ids()
                    comparison.creations()
                    comparison.claims()
                    comparison.replayed()
                    assert comparison.asked > 150
                count(house.app)


def count(app: Flask) -> None:
    with app.app_context():
        figures.count()


# ----------------------------------------------------------------------------------------------- time, locks, and trips


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_how_long_a_404_takes_does_not_tell_whose_job_it_is(house: House, method: str) -> None:
    foreign = [house.b.create(metadata={"a": "x" * 20_000})["id"] for _ in range(3)]
    body = {"status": "running"} if method == "PUT" else None
    for _ in range(4):  # whatever else the machine does; what is really slower is so each time
        ratio = _foreign_to_missing(house, method, foreign, body)
        if 0.8 < ratio < 1.25:
            return
    raise AssertionError(
        f"a foreign job takes {ratio:.2f} times as long as one that does not exist"
    )


def _foreign_to_missing(house: House, method: str, foreign: list[str], body: Any) -> float:
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(440):
        exists = bool(number & 1)
        job = foreign[number % 3] if exists else str(uuid.uuid4())
        started = time.perf_counter()
        answer = house.a.ask(method, f"{JOBS}/{job}", body)
        if number >= 40:  # what is asked first finds nothing warm
            seconds[exists].append(time.perf_counter() - started)
        assert answer.status_code == 404
    foreign_seconds, missing_seconds = (
        statistics.median(seconds[exists]) for exists in (True, False)
    )
    return foreign_seconds / missing_seconds


def ways_to(job: str) -> list[tuple[str, str, Any, dict[str, str]]]:
    """Return every request that could change, or lock, a job."""
    path, token = f"{JOBS}/{job}", {"X_Lease_Token": "t"}
    return [
        ("PUT", path, {"status": "running"}, {}),
        ("PATCH", path, {"stats": {"a": 1}}, {"Content_Type": MERGE}),
        ("DELETE", path, None, {}),
        ("POST", f"{path}/retry", {}, {"Idempotency_Key": uuid.uuid4().hex}),
        *(("POST", f"{path}/{what}", {}, token) for what in ("retry", "release", "heartbeat")),
        *(("GET", f"{path}{what}", None, {}) for what in ("", "/history", "/queue")),
    ]


@contextmanager
def held(url: str, *statements: str) -> Iterator[None]:
    """Keep the locks of `statements` in an open transaction."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield
        connection.rollback()


def test_a_request_about_a_foreign_job_does_not_wait_for_who_has_it_locked(house: House) -> None:
    job = house.b.create()["id"]
    with held(house.url, f"SELECT 1 FROM scrape_jobs WHERE id = '{job}' FOR UPDATE"):
        for method, path, body, headers in ways_to(job):
            answer = house.a.ask(method, path, body, **headers)
            assert answer.status_code == 404, (
                method,
                path,
                answer.text,
            )  # who waits is told of a lock's timeout
        assert (
            house.b.ask("PUT", f"{JOBS}/{job}", {"stats": {}}).get_json()["details"]
            == "Lock timeout"
        )


def test_a_request_about_a_foreign_webhook_does_not_wait_for_who_has_it_locked(
    house: House,
) -> None:
    hook = house.b.data("POST", HOOKS, HOOK)["id"]
    delivery = house.b.data("POST", f"{HOOKS}/{hook}/test")["id"]
    own = house.a.data("POST", HOOKS, HOOK)["id"]
    locks = [
        f"SELECT 1 FROM webhook_endpoints WHERE id = '{hook}' FOR UPDATE",
        f"SELECT 1 FROM webhook_deliveries WHERE id = '{delivery}' FOR UPDATE",
    ]
    with held(house.url, *locks):
        for call in OF_A_HOOK:
            answer = house.a.ask(call.method, f"{HOOKS}/{hook}{call.path}", call.json)
            assert answer.status_code == 404, (call, answer.text)
        for through in (hook, own):
            answer = house.a.ask("POST", f"{HOOKS}/{through}/deliveries/{delivery}/redeliver")
            assert answer.status_code == 404, answer.text


def test_a_request_about_a_foreign_job_holds_up_nobody_even_while_it_is_open(house: House) -> None:
    job = house.b.create()["id"]
    foreign, provenance, token = (
        uuid.UUID(job),
        Provenance(ANONYMOUS, None),
        Preconditions(lease_token="t"),
    )
    ways: list[Callable[[], object]] = [
        lambda: jobs.update(foreign, {"stats": {}}, Preconditions(), provenance),
        lambda: jobs.patch(foreign, {"stats": {}}, Preconditions(), provenance),
        lambda: jobs.cancel(foreign, "", Preconditions(), provenance),
        lambda: leases.retry(foreign, {}, Retry(), Preconditions(), provenance),
        lambda: leases.give_up(foreign, None, Retry(), token, provenance),
        lambda: leases.release(foreign, token, provenance),
        lambda: leases.heartbeat(foreign, "t", provenance),
    ]
    with (
        house.app.app_context(),
        tenant_scope.tenant_scope(uuid.UUID(house.a_id)),
        database.transaction(),
    ):
        for way in ways:
            with pytest.raises(JobNotFound):
                way()
        house.sql("SELECT 1 FROM scrape_jobs WHERE id = %s FOR UPDATE NOWAIT", job)
    # Against the test itself: one's own job is held up until the end.
    with (
        house.app.app_context(),
        tenant_scope.tenant_scope(uuid.UUID(house.b_id)),
        database.transaction(),
    ):
        ways[0]()
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            house.sql("SELECT 1 FROM scrape_jobs WHERE id = %s FOR UPDATE NOWAIT", job)


def test_a_request_with_a_key_takes_one_round_trip_while_the_key_is_remembered(
    house: House,
) -> None:
    proxy = Proxy(make_url(house.url))
    app = create_app(settings(proxy.url))
    a, foreign = Holder(app, house.a.key), house.b.create()["id"]
    try:
        own = f"{JOBS}/{a.create()['id']}"
        for job, status in ((own, 200), (f"{JOBS}/{foreign}", 404), (f"{JOBS}/{NOWHERE}", 404)):
            for method, body in (("GET", None), ("PUT", {"stats": {"a": 1}})):
                for _ in range(3):  # the statement is made known
                    proxy.turns.clear()
                    assert a.ask(method, job, body).status_code == status
                (turn,) = (turn for turn in proxy.turns if "get_api_key" not in turn)
                assert not turn.startswith(("BEGIN", "COMMIT", "ROLLBACK", "PREPARE"))
        proxy.turns.clear()
        started = time.monotonic()
        for _ in range(50):
            assert a.ask("GET", own).status_code == 200
        looks = [turn for turn in proxy.turns if "get_api_key" in turn]
        assert len(looks) <= 1 + (time.monotonic() - started) / keys.CACHE_SECONDS
        assert len(proxy.turns) == 50 + len(looks)
    finally:
        dispose(app)
        proxy.close()


# ------------------------------------------------------------------------------------------------------- side entrances


def test_a_waiting_claim_is_not_answered_with_somebody_else_s_jobs(house: House) -> None:
    domain = f"{uuid.uuid4().hex}.example"
    ask = {"worker_id": "w", "domains": [domain], "wait_seconds": 1}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(house.a.data, "POST", f"{JOBS}/next", ask)
        others = [
            house.b.create(domain=domain, priority=10)["id"],
            house.admin.create(domain=domain)["id"],
        ]
        assert waiting.result(30) == []
        assert {house.admin.data("GET", f"{JOBS}/{job}")["status"] for job in others} == {"pending"}
        waiting = pool.submit(house.a.data, "POST", f"{JOBS}/next", {**ask, "wait_seconds": 20})
        house.b.create(domain=domain, priority=10)
        own = house.a.create(domain=domain, priority=1)["id"]
        assert [job["id"] for job in waiting.result(30)] == [own]


def test_equal_idempotency_keys_of_two_customers_or_keys_are_two(house: House) -> None:
    name = uuid.uuid4().hex
    holders = [house.a, house.b, house.admin, house.holder(house.a_id)]
    for path, body in ((JOBS, {"domain": "idem.example"}), (HOOKS, HOOK)):
        answers = [
            holder.ask("POST", path, body, Idempotency_Key=f"{name}{path}") for holder in holders
        ]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.get_json()["data"]["id"] for answer in answers}) == len(holders)
    # Another body under the key that somebody else has used is no conflict, and one's own is.
    own = uuid.uuid4().hex
    assert (
        house.b.ask("POST", JOBS, {"domain": "b.example"}, Idempotency_Key=own).status_code == 201
    )
    assert (
        house.a.ask("POST", JOBS, {"domain": "a.example"}, Idempotency_Key=own).status_code == 201
    )
    assert (
        house.a.ask("POST", JOBS, {"domain": "b.example"}, Idempotency_Key=own).status_code == 422
    )


def test_an_idempotency_key_that_somebody_else_s_request_holds_is_not_in_use(house: House) -> None:
    name = uuid.uuid4().hex
    caller = house.b.key.split("_")[1]
    claim = f"INSERT INTO idempotency_keys (caller, key, fingerprint, created_at) VALUES ('{caller}', '{name}', '', now())"
    with held(house.url, claim):
        assert (
            house.a.ask("POST", JOBS, {"domain": "a.example"}, Idempotency_Key=name).status_code
            == 201
        )


def test_a_job_s_limit_that_others_use_up_is_not_told_by_its_place_in_the_queue(
    house: House,
) -> None:
    domain = f"{uuid.uuid4().hex}.example"
    job = house.a.create(domain=domain, config={"maxConcurrent": 1})["id"]
    before = house.a.ask("GET", f"{JOBS}/{job}/queue").data
    for holder in (house.b, house.admin):
        running = holder.create(domain=domain)["id"]
        holder.data("PUT", f"{JOBS}/{running}", {"status": "running"})
    assert house.a.ask("GET", f"{JOBS}/{job}/queue").data == before


def test_the_service_s_limit_that_others_use_up_is_not_told_by_a_place_in_the_queue(
    url: str,
) -> None:
    with house_at(url, domain_limit=2) as house:
        domain = f"{uuid.uuid4().hex}.example"
        waiting, running = (house.a.create(domain=domain)["id"] for _ in range(2))
        house.a.data("PUT", f"{JOBS}/{running}", {"status": "running"})
        before = house.a.ask("GET", f"{JOBS}/{waiting}/queue").data
        for _ in range(3):
            foreign = house.b.create(domain=domain)["id"]
            house.b.data("PUT", f"{JOBS}/{foreign}", {"status": "running"})
        assert house.a.ask("GET", f"{JOBS}/{waiting}/queue").data == before
        # Who sees all is told.
        held_back_by = house.admin.data("GET", f"{JOBS}/{waiting}/queue")["held_back_by"]
        assert held_back_by == {
            "limit": "SCRAPE_JOBS_DOMAIN_LIMIT", "domain": domain, "allowed": 2, "running": 4,
        }  # fmt: skip


def test_updates_sent_at_a_foreign_job_do_not_use_up_what_its_owner_may_send(url: str) -> None:
    with house_at(url, rate_limit=True, rate_limit_job=5) as house:
        job = f"{JOBS}/{house.b.create()['id']}"
        for _ in range(8):
            house.a.ask("PUT", job, {"stats": {}})
        assert house.b.ask("PUT", job, {"stats": {"a": 1}}).status_code == 200


def test_what_is_left_of_a_limit_does_not_tell_that_others_update_a_job(url: str) -> None:
    with house_at(url, rate_limit=True, rate_limit_job=5) as house:
        job = house.b.create()["id"]
        for _ in range(4):
            house.b.data("PUT", f"{JOBS}/{job}", {"stats": {"a": 1}})
        other = house.holder(house.a_id)
        for _ in range(3):
            foreign = house.a.ask("PUT", f"{JOBS}/{job}", {"stats": {}}, X_Request_ID="r")
            missing = other.ask("PUT", f"{JOBS}/{NOWHERE}", {"stats": {}}, X_Request_ID="r")
            assert (foreign.status_code, foreign.data) == (missing.status_code, missing.data)
            # The two may be asked in different seconds.
            for answer in (foreign, missing):
                answer.headers.pop("RateLimit-Reset")
            assert list(foreign.headers) == list(missing.headers)


def test_statistics_of_a_foreign_customer_are_nobody_s_not_those_of_the_nil_uuid(
    house: House,
) -> None:
    house.admin.failed(customer_config_id=NIL)
    for counted in (False, True):
        if counted:
            count(house.app)
        for query in (f"customer_config_id={house.b_id}", f"customer_config_id={NIL}"):
            for more in (
                "",
                "&domain=shared.example",
                "&group_by=domain",
                "&from=2020-01-01T00:00:00Z&group_by=hour",
            ):
                found = house.a.data("GET", f"{JOBS}/stats?{query}{more}")
                assert (found["total"], found["errors"], found["groups"]) == (0, [], [])


def test_a_batch_that_names_somebody_else_says_where(house: House) -> None:
    foreign = {"domain": "a.example", "customer_config_id": house.b_id}
    for place in range(2):
        batch = [{"domain": "a.example"}] * place + [foreign]
        error = house.a.ask("POST", JOBS, batch).get_json()["error"]
        assert (
            error
            == f"Invalid [{place}].customer_config_id: must be the one that the key is bound to, or absent"
        )
    assert house.a.data("GET", JOBS) == []


# ------------------------------------------------------------------------------------------------------------- webhooks


@pytest.fixture
def lonely(server_url: str) -> Iterator[House]:
    """A house whose database holds nothing else, and whose webhooks may be sent to this machine."""
    for url in new_database(server_url):
        migrate(url)
        with house_at(url, webhook_allow=("127.0.0.0/8",)) as house:
            yield house


def wait_for_deliveries(house: House) -> None:
    """Wait until nothing is owed any more."""
    owed = "SELECT (SELECT count(*) FROM webhook_deliveries WHERE status = 'pending') + (SELECT count(*) FROM outbox)"
    wait_until(lambda: house.sql(owed) == [(0,)], 30)


def test_a_customer_s_receiver_never_hears_of_others(lonely: House) -> None:
    house, everybody = lonely, [lonely.a, lonely.b, lonely.admin]
    dispatcher = house.app.extensions["webhook_dispatcher"]
    with Receiver() as receiver:
        # What happened before there were endpoints waits in the outbox.
        owners = {holder.failed()["id"]: holder for holder in everybody}
        hooks = {
            holder: holder.data("POST", HOOKS, {"url": f"{receiver.url}/{name}"})["id"]
            for holder, name in zip(everybody, ("a", "b", "all"), strict=True)
        }
        dispatcher.start()
        try:
            owners.update({holder.failed()["id"]: holder for holder in everybody})
            for holder in (house.a, house.b):
                holder.data("POST", f"{HOOKS}/{hooks[holder]}/test")
            wait_for_deliveries(house)
            assert len(receiver.at("/all")) == 12
            for path, holder in (("/a", house.a), ("/b", house.b)):
                came = [told(one.body) for one in receiver.at(path)]
                of_jobs = [job for event, job in came if event == "job_status_changed"]
                assert sorted(of_jobs) == sorted(
                    2 * [job for job, owner in owners.items() if owner is holder]
                )
                assert [event for event, _ in came if event != "job_status_changed"] == [
                    "webhook_test"
                ]
            house.sql("UPDATE webhook_deliveries SET status = 'failed', finished_at = now()")
            assert (
                house.a.ask("POST", f"{HOOKS}/{hooks[house.b]}/redeliver", SINCE).status_code == 404
            )
            assert (
                house.a.data("POST", f"{HOOKS}/{hooks[house.a]}/redeliver", SINCE)["redelivered"]
                == 5
            )
            wait_for_deliveries(house)
            assert [len(receiver.at(path)) for path in ("/a", "/b", "/all")] == [10, 5, 12]
            first, again = (
                sorted(one.body for one in part)
                for part in (receiver.at("/a")[:5], receiver.at("/a")[5:])
            )
            assert first == again
        finally:
            dispatcher.stop()


def told(body: bytes) -> tuple[str, str]:
    """Return the event, and the job that it is about."""
    message = json.loads(body)
    return message["event"], message["job_id"]


# ------------------------------------------------------------------------------------------------------ saying for whom

OWN_WORK = {
    "claim_webhook_deliveries", "count_events", "count_owed_webhooks", "fan_out_status_changes", "find_expired_leases",
    "forget_expired_keys", "keep_webhook_endpoints_of_settings", "release_webhook_deliveries",
    "resume_webhook_deliveries", "secrets_of_webhook_endpoints_of_settings", "settle_webhook_deliveries",
}  # fmt: skip
"""Statements of the service's own threads, which no caller is answered with."""

OF_OPERATORS = {
    "count_jobs", "create_api_key", "endpoints_with_deliveries", "events_of_job", "jobs_by_status", "list_api_keys",
    "look_for_leftover_deliveries", "look_for_old_jobs", "prunable_span", "queue_depth", "remove_deliveries_of_job",
    "remove_expired_keys", "remove_leftover_deliveries", "remove_old_jobs", "revoke_api_key",
    "verify_ends_of_histories", "verify_events",
}  # fmt: skip
"""Statements of commands, and of /metrics, to which no customer's key is let in."""

NARROWED_OTHERWISE = {
    "create_jobs": "the new jobs' customer is in them: the service has put it there",
    "claim_idempotency_key": "by the key's id",
    "read_idempotency_key": "by the key's id",
    "remember_answer": "by the key's id",
    "get_api_key": "by the key's id",
    "record_use_of_api_keys": "by the keys' ids",
    "drop_webhook_deliveries": "by an endpoint that was the caller's to delete",
    "list_webhook_deliveries": "by an endpoint that the caller was found to see",
    "redeliver_webhook": "by an endpoint that the caller was found to see",
    "redeliver_failed_webhooks": "by an endpoint that the caller was found to see",
    "owe_test_webhook": "by an endpoint that the caller was found to see",
    "take_job": "by a candidate that the caller was found to see",
    "count_running": "the service's limits are about all jobs of a domain",
    "count_running_by_domain": "likewise",
}

ABOUT_CUSTOMERS = (
    "scrape_jobs", "job_events", "outbox", "uncounted_events", "webhook_endpoints", "webhook_deliveries",
    "idempotency_keys", "api_keys", "job_totals",
)  # fmt: skip


def test_every_statement_is_narrowed_to_the_caller_or_known_to_need_no_narrowing() -> None:
    found = {
        name: one
        for name, one in statements().items()
        if any(table in one.sql for table in ABOUT_CUSTOMERS)
    }
    narrowed = {
        name for name, statement in found.items() if tenant_scope.PARAMETER in statement.parameters
    }
    assert len(narrowed) > 20
    assert set(found) - narrowed == OWN_WORK | OF_OPERATORS | set(NARROWED_OTHERWISE)


def test_a_statement_that_nobody_asks_reads_nothing(house: House) -> None:
    with house.app.app_context():
        for name, statement in statements().items():
            if tenant_scope.PARAMETER in statement.parameters:
                with pytest.raises(tenant_scope.TenantScopeMissing):
                    database.run(statement, dict.fromkeys(statement.parameters))
                assert name not in OWN_WORK | OF_OPERATORS
        order = list_queries.ORDERS["created_at"]
        for ask in (
            lambda: jobs.page(list_queries.Filters(), order, None, 10),
            lambda: jobs.create([{"customer_config_id": None}], Provenance(ANONYMOUS, None)),
            lambda: figures.statistics(
                None, None, customer=None, domain=None, job_type=None, group=None
            ),
        ):
            with pytest.raises(tenant_scope.TenantScopeMissing):
                ask()


def test_a_thread_of_the_service_s_own_has_to_say_for_whom(house: House) -> None:
    job = house.a.create(domain=f"{uuid.uuid4().hex}.example")
    house.a.data("POST", f"{JOBS}/next", {"worker_id": "w", "domains": [job["domain"]]})
    house.sql(
        "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 hour' WHERE id = %s",
        job["id"],
    )
    raised: list[BaseException] = []

    def sweep() -> None:
        try:
            with house.app.app_context():
                sweeper.sweep()
        except tenant_scope.TenantScopeMissing as error:
            raised.append(error)

    with tenant_scope.all_customers():  # what one thread has said holds for no other
        thread = threading.Thread(target=sweep)
        thread.start()
        thread.join()
    assert raised
    assert house.a.data("GET", f"{JOBS}/{job['id']}")["status"] == "running"
    housekeeping = house.app.extensions["housekeeping"]
    housekeeping.start()
    try:
        wait_until(lambda: house.a.data("GET", f"{JOBS}/{job['id']}")["status"] == "pending", 20)
    finally:
        housekeeping.stop()


@pytest.mark.parametrize(
    "words",
    [
        "queue sweep", "statistics count", "jobs prune --older-than 900d", "jobs prune --older-than 900d --dry-run",
        "audit verify", "keys list", "keys create x --scope all", "keys revoke {}", "keys rotate {}",
    ],
)  # fmt: skip
def test_every_command_says_for_whom_it_reads(
    house: House, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.b.failed()
    asked: list[str] = []
    run = database.run

    def run_for_somebody(
        statement: Statement, parameters: database.Parameters
    ) -> list[database.Row]:
        asked.append(statement.name)
        assert tenant_scope.customer() is None, statement.name
        return run(statement, parameters)

    monkeypatch.setattr(database, "run", run_for_somebody)
    result = house.app.test_cli_runner().invoke(
        args=words.format(house.b.key.split("_")[1]).split()
    )
    assert result.exception is None, (result.exception, result.output)
    assert asked


def test_what_a_request_saw_is_over_with_it_however_it_ends(house: House) -> None:
    job = house.a.create()["id"]
    for method, path, status in (
        ("GET", f"{JOBS}/{job}", 200), ("GET", f"{JOBS}/{NOWHERE}", 404), ("GET", "/metrics", 403), ("PUT", JOBS, 405),
        ("OPTIONS", JOBS, 200), ("GET", "/nowhere", 404), ("GET", f"{JOBS}/x", 400),
    ):  # fmt: skip
        assert house.a.ask(method, path).status_code == status
        with pytest.raises(tenant_scope.TenantScopeMissing):
            tenant_scope.customer()
    assert replace(house.a, key="x").ask("GET", f"{JOBS}/{job}").status_code == 401
    with pytest.raises(tenant_scope.TenantScopeMissing):
        tenant_scope.customer()


def test_who_asks_inside_of_somebody_else_s_question_is_alone_and_then_the_other_is_again() -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    with tenant_scope.tenant_scope(one):
        with tenant_scope.tenant_scope(other):
            assert tenant_scope.customer() == other
        assert tenant_scope.customer() == one
        with contextlib.suppress(LeaseLost), tenant_scope.all_customers():
            assert tenant_scope.customer() is None
            raise LeaseLost
        assert tenant_scope.customer() == one
