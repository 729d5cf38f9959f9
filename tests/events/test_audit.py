"""The record: every change of a job leaves its event, and `flask audit verify` finds whatever was
done to one later.

What is proved is what hashes without a secret can prove. Who may write every table, and takes the
trouble to make all hashes from the altered event on anew, up to the one that the job keeps, leaves
no trace here; nor does who removes a job with all that belongs to it, as the retention command
does, or takes it back to an earlier event with its status, time, version and chain. Against these
the roles of deploy/roles.sql stand.
"""

import json
import random
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
import requests
from flask import Flask
from flask_migrate import upgrade
from werkzeug.test import TestResponse

from app import database
from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.database.session_settings import DEFAULTS, REQUIRED
from app.database.tenant_scope import all_customers
from app.errors import DatabaseTimeout
from app.events import audit_queries
from app.events import queries as events
from app.events.audit_queries import EVENTS_BATCH, FIRST_ID, FIRST_SEQ, SHOWN_BATCH
from app.factory import create_app
from app.queue import sweeper
from support.database import migrate, new_database
from support.service import ROOT, Service, environment, wait_until

JOBS = "/api/scrape-jobs"
MERGE = {"Content-Type": "application/merge-patch+json"}
ADDRESS = "203.0.113.7"
ALL_IS_WELL = "The history is as it was written."
KEY_NAMES = ("Zoë's key", "the night shift", "ops")


class Ledger:
    """A database of the tests' own, the application with locked doors on it, and a key to them."""

    def __init__(self, url: str, app: Flask | None = None) -> None:
        self.url = url
        self.app = app or create_app(Settings(database_url=url, rate_limit=False))
        self.client = self.app.test_client()
        self.boss = self.key("the boss")
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()
        with self.app.app_context():
            self.app.extensions["sqlalchemy"].engine.dispose()

    def key(self, name: str) -> str:
        with self.app.app_context():
            key, _ = keys.create(name, [Scope.ALL], None, None)
        return str(key)

    def sql(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def call(
        self, method: str, path: str, body: Any = None, key: str = "", **headers: str
    ) -> TestResponse:
        headers = {"Authorization": f"Bearer {key or self.boss}", **headers}
        address = {"REMOTE_ADDR": ADDRESS}
        return self.client.open(
            path, method=method, json=body, headers=headers, environ_overrides=address
        )

    def done(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call, which has to succeed, and return the data of the answer."""
        answer = self.call(method, path, body, **headers)
        assert answer.status_code < 300, answer.text
        return answer.get_json()["data"]

    def create(self, **fields: Any) -> str:
        return str(self.done("POST", JOBS, {"domain": new_domain(), **fields})["id"])

    def change(self, job: str, **fields: Any) -> None:
        self.done("PUT", f"{JOBS}/{job}", fields)

    def claim(self, job: str) -> str:
        """Take the job, whose domain is its own, and return the lease's token."""
        ((domain,),) = self.sql("SELECT domain FROM scrape_jobs WHERE id = %(id)s", id=job)
        (taken,) = self.done("POST", f"{JOBS}/next", {"worker_id": "w", "domains": [domain]})
        assert taken["id"] == job
        return str(taken["lease_token"])

    def life(self) -> str:
        """Return a job with five events: created, started, updated, failed, retried."""
        job = self.create(metadata={"tags": ["a"]}, max_retries=3)
        self.change(job, status="running")
        self.change(job, stats={"pagesProcessed": 3, "note": "äöü 😀"})
        self.change(job, status="failed", error_message="Timeout")
        self.done("POST", f"{JOBS}/{job}/retry")
        return job

    def events(self, job: str) -> list[tuple[Any, ...]]:
        """Return the job's events: numbers, who, from where, when and what."""
        return self.sql(
            "SELECT seq, actor_type, actor_id, actor_name, request_id, address, at, action, old_status, new_status,"
            " changes FROM job_events WHERE job_id = %(job)s ORDER BY seq",
            job=job,
        )

    def verify(self) -> list[str]:
        """Return what `flask audit verify` finds: a line for each job, none where all is well."""
        result = self.app.test_cli_runner().invoke(args=["audit", "verify"])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(
            result.exception
        )
        lines = result.stdout.splitlines()
        if lines == [ALL_IS_WELL]:
            assert result.exit_code == 0
            return []
        assert result.exit_code == 1
        jobs = "1 job" if len(lines) == 1 else f"{len(lines)} jobs"
        assert f"Error: The history of {jobs} is not as it was written\n" in result.stderr
        return sorted(lines)


def new_domain() -> str:
    return f"d{uuid.uuid4().hex[:16]}.example"


@contextmanager
def a_ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    try:
        yield ledger
    finally:
        ledger.close()


@pytest.fixture(scope="module")
def _ledger(server_url: str) -> Iterator[Ledger]:
    for url in new_database(server_url):
        migrate(url)
        with a_ledger(url) as ledger:
            yield ledger


@pytest.fixture
def ledger(_ledger: Ledger) -> Ledger:
    """The ledger without any jobs: what one test did to them is none of the next one's business."""
    _ledger.sql("TRUNCATE scrape_jobs, job_events, outbox, uncounted_events")
    return _ledger


def flask(url: str, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command of flask's as a process of its own."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", *words]
    env = environment(DATABASE_URL=url, **settings)
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def fault(job: object, seq: int, kind: str) -> str:
    return f"job {job}: event {seq}: {kind}"


# ------------------------------------------------------------------------------------------------ every change is told


class _Moment:
    """Equal to whatever is a time as the history writes it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and bool(
            re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", other)
        )

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "a moment"


T = _Moment()
Happened = tuple[str, str | None, str, Mapping[str, tuple[Any, Any]]]
"""Action, old and new status, and by field what it was and what it is."""


@dataclass
class Way:
    """A way to change a job: the call, the job that it needs, the answer's status, and the events
    that it leaves."""

    name: str
    method: str
    path: str
    state: str
    events: Sequence[Happened]
    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    with_token: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


ONE, RETRY, RELEASE, HEARTBEAT = "/<id>", "/<id>/retry", "/<id>/release", "/<id>/heartbeat"
FORGOTTEN = {"error_message": ("Timeout", None), "started_at": (T, None), "completed_at": (T, None)}
RETRIED: Happened = ("retried", "failed", "pending", {**FORGOTTEN, "retry_count": (0, 1)})
HEARD: Happened = ("cancel_heard", "cancelled", "cancelled", {})
LET_GO = {"started_at": (T, None), "completed_at": (T, None), "worker_id": ("w", None)}


def _ended(action: str, message: str) -> Happened:
    return (
        action,
        "running",
        "failed",
        {"completed_at": (None, T), "error_message": (None, message)},
    )


def _again(action: str, message: str, **more: tuple[Any, Any]) -> Happened:
    return (action, "failed", "pending", {**LET_GO, "error_message": (message, None), **more})


WAYS = [
    Way("start", "PUT", ONE, "pending", [("updated", "pending", "running", {"started_at": (None, T)})],
        {"status": "running"}),
    Way("progress", "PUT", ONE, "running", [("updated", "running", "running", {"stats.a": (None, 1)})],
        {"stats": {"a": 1}}),
    Way("metadata", "PUT", ONE, "pending", [("updated", "pending", "pending", {"metadata.b": (None, [1])})],
        {"metadata": {"b": [1]}}),
    Way("nothing new", "PUT", ONE, "running", [("updated", "running", "running", {})], {"status": "running"}),
    Way("own times", "PUT", ONE, "running",
        [("updated", "running", "running", {"retry_count": (0, 2), "started_at": (T, "2024-01-01T00:00:00.000Z")})],
        {"retry_count": 2, "started_at": "2024-01-01T00:00:00Z"}),
    Way("complete", "PUT", ONE, "running", [("updated", "running", "completed", {"completed_at": (None, T)})],
        {"status": "completed"}),
    Way("fail", "PUT", ONE, "running", [_ended("updated", "Timeout")],
        {"status": "failed", "error_message": "Timeout"}),
    Way("retry by PUT", "PUT", ONE, "failed", [("updated", *RETRIED[1:])], {"status": "pending"}),
    Way("cancel by PUT", "PUT", ONE, "pending", [("updated", "pending", "cancelled", {"completed_at": (None, T)})],
        {"status": "cancelled"}),
    Way("report", "PUT", ONE, "leased", [("updated", "running", "running", {"stats.a": (None, 1)})],
        {"stats": {"a": 1}}, with_token=True),
    Way("last report", "PUT", ONE, "revoked", [("updated", "cancelled", "cancelled", {"stats.a": (None, 1)}), HEARD],
        {"stats": {"a": 1}}, with_token=True),
    Way("refused report", "PUT", ONE, "revoked", [HEARD], {"status": "completed"}, 400, with_token=True),
    Way("patch", "PATCH", ONE, "running",
        [("updated", "running", "running", {"stats.a": (None, {"b": 1}), "metadata.k": ("v", None)})],
        {"stats": {"a": {"b": 1, "c": None}}, "metadata": {"k": None}}, headers=MERGE, fields={"metadata": {"k": "v"}}),
    Way("refused patch", "PATCH", ONE, "revoked", [HEARD], {"status": "running"}, 400, MERGE, with_token=True),
    Way("cancel", "DELETE", ONE + "?reason=Enough", "running",
        [("cancelled", "running", "cancelled",
          {"completed_at": (None, T), "error_message": (None, "Cancelled via API: Enough")})]),
    Way("retry", "POST", RETRY, "failed", [RETRIED]),
    Way("retry later", "POST", RETRY, "failed",
        [("retried", "failed", "pending",
          {**FORGOTTEN, "scheduled_for": (None, T), "error_message": ("Timeout", "Later")})],
        {"delay_seconds": 60, "error_message": "Later", "reset_retry_count": True}),
    Way("give up", "POST", RETRY, "leased",
        [_ended("given_up", "No"), _again("retried", "No", retry_count=(0, 1))],
        {"error_message": "No"}, with_token=True),
    Way("give up for good", "POST", RETRY, "leased", [_ended("given_up", "Given up by worker w")], None, 400,
        with_token=True, fields={"max_retries": 0}),
    Way("release", "POST", RELEASE, "leased",
        [_ended("released", "Released by worker w"), _again("released", "Released by worker w")], with_token=True),
    Way("heartbeat", "POST", HEARTBEAT, "leased", [], with_token=True),
    Way("heartbeat of a cancelled job", "POST", HEARTBEAT, "revoked", [HEARD], with_token=True),
    Way("no transition", "PUT", ONE, "pending", [], {"status": "completed"}, 400),
    Way("no such field", "PUT", ONE, "pending", [], {"colour": "red"}, 400),
    Way("another's version", "PUT", ONE, "pending", [], {"stats": {}}, 412, {"If-Match": '"7"'}),
    Way("another's lease", "PUT", ONE, "leased", [], {"stats": {}}, 409, {"X-Lease-Token": "t"}),
    Way("no retry left", "POST", RETRY, "failed", [], None, 400, fields={"max_retries": 0}),
    Way("not released", "POST", RELEASE, "pending", [], None, 409, {"X-Lease-Token": "t"}),
    Way("too large", "PUT", ONE, "running", [], {"stats": {"a": "x" * 300_000}}, 413),
]  # fmt: skip


def prepared(ledger: Ledger, way: Way) -> tuple[str, str | None]:
    """Return a job as `way` needs it, and the token of its lease."""
    job, token = ledger.create(**way.fields), None
    if way.state in ("leased", "revoked"):
        token = ledger.claim(job)
    if way.state in ("running", "failed"):
        ledger.change(job, status="running")
    if way.state == "failed":
        ledger.change(job, status="failed", error_message="Timeout")
    if way.state == "revoked":
        ledger.done("DELETE", f"{JOBS}/{job}")
    return job, token


def told(
    job: str, before: int, who: str, request_id: str, since: datetime, ledger: Ledger
) -> list[Happened]:
    """Return what was told of the job past its first `before` events, all of it by the key `who` in
    one request."""
    rows = ledger.events(job)
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert ledger.sql("SELECT version FROM scrape_jobs WHERE id = %(id)s", id=job) == [(len(rows),)]
    for _, *provenance, at, _, _, _, _ in rows[before:]:
        assert provenance == ["key", who.split("_")[1], KEY_NAMES[0], request_id, ADDRESS]
        assert since - timedelta(milliseconds=1) <= at <= datetime.now(UTC)
    return [
        (
            action,
            old,
            new,
            {name: (change["from"], change["to"]) for name, change in changes.items()},
        )
        for *_, action, old, new, changes in rows[before:]
    ]


@pytest.fixture(scope="module")
def who(_ledger: Ledger) -> str:
    return _ledger.key(KEY_NAMES[0])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_every_way_to_change_a_job_is_told_with_who_when_whence_and_what(
    ledger: Ledger, who: str, way: Way
) -> None:
    job, token = prepared(ledger, way)
    before = len(ledger.events(job))
    headers = {
        **way.headers,
        "X-Request-ID": uuid.uuid4().hex,
        **({"X-Lease-Token": token or ""} if way.with_token else {}),
    }
    since = datetime.now(UTC)
    answer = ledger.call(way.method, JOBS + way.path.replace("<id>", job), way.body, who, **headers)
    assert answer.status_code == way.status, answer.text
    assert told(job, before, who, headers["X-Request-ID"], since, ledger) == way.events
    assert ledger.verify() == []


def test_no_route_that_changes_jobs_is_missing_here(ledger: Ledger) -> None:
    changing = {
        (method, rule.rule.removeprefix(JOBS))
        for rule in ledger.app.url_map.iter_rules()
        if rule.rule.startswith(JOBS)
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    }
    here = {(way.method, way.path.partition("?")[0]) for way in WAYS}
    assert changing == here | {("POST", ""), ("POST", "/next")}


@pytest.mark.parametrize("size", [None, 1, 3])
def test_a_new_job_is_told_alone_or_in_a_batch_and_repeated_once(
    ledger: Ledger, who: str, size: int | None
) -> None:
    new = {"domain": "example.com", "config": {"depth": 2}, "customer_config_id": str(uuid.uuid4())}
    headers = {"X-Request-ID": uuid.uuid4().hex, "Idempotency-Key": uuid.uuid4().hex}
    since = datetime.now(UTC)
    body = new if size is None else [new] * size
    first, again = (ledger.done("POST", JOBS, body, key=who, **headers) for _ in range(2))
    assert first == again
    jobs = [first] if size is None else first
    changes = {
        "domain_id": (None, jobs[0]["domain_id"]), "domain": (None, "example.com"),
        "job_type": (None, "domain_scrape"), "priority": (None, 5),
        "max_retries": (None, 3), "customer_config_id": (None, new["customer_config_id"]), "config.depth": (None, 2),
    }  # fmt: skip
    for job in jobs:
        assert told(job["id"], 0, who, headers["X-Request-ID"], since, ledger) == [
            ("created", None, "pending", changes)
        ]
    assert ledger.sql("SELECT count(*) FROM job_events") == [(len(jobs),)]
    assert ledger.verify() == []


@pytest.mark.parametrize("spread", [False, True])
def test_a_claim_is_told_of_each_job_that_it_takes(ledger: Ledger, who: str, spread: bool) -> None:
    domain = new_domain()
    jobs = {ledger.create(domain=domain) for _ in range(3)}
    app = create_app(Settings(database_url=ledger.url, rate_limit=False, distributed=spread))
    request_id, since = uuid.uuid4().hex, datetime.now(UTC)
    headers = {"Authorization": f"Bearer {who}", "X-Request-ID": request_id}
    body = {"worker_id": "w", "domains": [domain], "limit": 9}
    answer = app.test_client().post(
        f"{JOBS}/next", json=body, headers=headers, environ_overrides={"REMOTE_ADDR": ADDRESS}
    )
    assert {job["id"] for job in answer.get_json()["data"]} == jobs
    for job in jobs:
        changes = {"started_at": (None, T), "worker_id": (None, "w")}
        assert told(job, 1, who, request_id, since, ledger) == [
            ("claimed", "pending", "running", changes)
        ]
    assert ledger.verify() == []
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


@pytest.mark.parametrize("max_retries", [3, 0])
def test_a_rescue_is_told_as_the_system_s(ledger: Ledger, max_retries: int) -> None:
    job = ledger.create(max_retries=max_retries)
    ledger.claim(job)
    ledger.sql(
        "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE id = %(id)s", id=job
    )
    with ledger.app.app_context(), all_customers():
        assert sweeper.sweep() == 1
    rows = ledger.events(job)[2:]
    assert [row[1:6] for row in rows] == [("system", None, None, None, None)] * len(rows)
    expected = [("lease_expired", "running", "failed"), ("retried", "failed", "pending")]
    assert [row[7:10] for row in rows] == expected[: 2 if max_retries else 1]
    assert ledger.verify() == []


def test_what_nobody_asked_with_a_key_is_told_as_anonymous(ledger: Ledger) -> None:
    app = create_app(Settings(auth="off", database_url=ledger.url, rate_limit=False))
    job = app.test_client().post(JOBS, json={"domain": "example.com"}).get_json()["data"]["id"]
    assert [row[1:4] for row in ledger.events(job)] == [("anonymous", None, None)]
    assert ledger.verify() == []
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


# ------------------------------------------------------------------------------------------------- what is found later


CANDIDATES: Mapping[str, Sequence[str]] = {
    "uuid": ("gen_random_uuid()", "NULL"),
    "bigint": ("{0} + 1000", "coalesce({0}, 0) - 1000", "NULL", "0"),
    "integer": ("{0} + 1", "NULL", "0"),
    "double precision": ("{0} + 1e-9", "'NaN'", "'Infinity'", "NULL", "0", "'-0'"),
    "timestamp with time zone": (
        "{0} + interval '1 us'",
        "{0} - interval '1000 years'",
        "'infinity'",
        "'294276-12-31'",
    ),
    "text": ("{0} || 'x'", "{0} || ' '", "''", "NULL", "'system'", "'anonymous'"),
    "jsonb": ("'{{}}'", "{0} || '{{\"x\": 1}}'", "NULL", "'{{\"x\": null}}'", "'null'"),
    "bytea": ("''", "sha256({0})", "{0} || '\\x00'"),
}
"""By type: what else a column may be made to say."""


def test_what_is_changed_in_any_column_of_any_event_is_found_and_named(ledger: Ledger) -> None:
    _, job, _ = (ledger.life() for _ in range(3))
    columns = ledger.sql(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = 'job_events'"
    )
    assert {"job_id", "changes", "hash"} < {name for name, _ in columns}
    missed: list[str] = []
    for seq in (1, 3, 4, 5):
        for name, kind in columns:
            assert kind in CANDIDATES, f"say above what else a {kind} may be"
            tried = [
                altered(ledger, job, seq, name, value.format(name), missed)
                for value in CANDIDATES[kind]
            ]
            assert any(tried), f"nothing else can be said in {name}"
    assert missed == []
    assert ledger.verify() == []


def altered(ledger: Ledger, job: str, seq: int, column: str, value: str, missed: list[str]) -> bool:
    """Alter a column, note what of it is not found and named, and undo it; return whether there was
    a difference."""
    ledger.sql(
        f"CREATE TEMP TABLE kept AS SELECT * FROM job_events WHERE (job_id, seq) = ('{job}', {seq})"
    )
    try:
        changed = ledger.sql(
            f"UPDATE job_events e SET {column} = {value} WHERE (e.job_id, e.seq) = ('{job}', {seq})"
            f" AND e.{column}::text IS DISTINCT FROM ({value})::text RETURNING job_id, seq"
        )
        if not changed:
            return False
        ((new_job, new_seq),) = changed
        gap = seq + 1 if seq < 5 else 4 if column == "job_id" else new_seq
        expected = {
            "job_id": [fault(job, gap, ""), fault(new_job, seq, "without a job")],
            "seq": [fault(job, gap if new_seq > 0 else new_seq, "")],
        }.get(column, [fault(job, seq, "changed")])
        try:
            found = ledger.verify()
        except AssertionError as failure:
            found = str(failure).splitlines()[:1]
        matches = [
            line.startswith(start)
            for line, start in zip(sorted(found), sorted(expected), strict=False)
        ]
        if len(found) != len(expected) or not all(matches):
            missed.append(f"event {seq}: {column} = {value}: {found}, not {expected}")
        ledger.sql(f"DELETE FROM job_events WHERE (job_id, seq) = ('{new_job}', {new_seq})")
        ledger.sql("INSERT INTO job_events SELECT * FROM kept")
    except (psycopg2.errors.CheckViolation, psycopg2.errors.NotNullViolation):
        return False  # the table itself refuses it
    finally:
        ledger.sql("DROP TABLE kept")
    return True


def removed(which: str) -> str:
    return f"DELETE FROM job_events WHERE job_id = %(job)s AND seq {which}"


def renumbered(*pairs: tuple[int, int]) -> str:
    """Return SQL that gives events other numbers; they may change places."""
    aside = [
        f"UPDATE job_events SET seq = {-1000 - new} WHERE job_id = %(job)s AND seq = {old}"
        for old, new in pairs
    ]
    return ";".join(
        [*aside, "UPDATE job_events SET seq = -1000 - seq WHERE job_id = %(job)s AND seq < -900"]
    )


def copied(seq: int, to: int | str, job: str = "%(job)s") -> str:
    return (
        f"INSERT INTO job_events SELECT (jsonb_populate_record(e, jsonb_build_object('seq', {to}, 'job_id', {job}))).*"
        f" FROM job_events e WHERE job_id = %(job)s AND seq = {seq}"
    )


def chained(*numbers: int) -> str:
    """Return SQL that makes the hashes of these events right again."""
    before = "(SELECT p.hash FROM job_events p WHERE p.job_id = e.job_id AND p.seq = e.seq - 1)"
    made = f"UPDATE job_events e SET hash = {events.event_hash(before, 'e')} WHERE job_id = %(job)s AND seq = "
    return ";".join(made + str(number) for number in numbers)


def of_job(what: str) -> str:
    return f"UPDATE scrape_jobs SET {what} WHERE id = %(job)s"


def of_event(seq: int, what: str) -> str:
    return f"UPDATE job_events SET {what} WHERE job_id = %(job)s AND seq = {seq}"


TAMPERINGS: Mapping[str, tuple[Sequence[str], int, str]] = {
    "the first one removed": ([removed("= 1")], 2, "missing before"),
    "a middle one removed": ([removed("= 3")], 4, "missing before"),
    "the last one removed": ([removed("= 5")], 4, "missing after"),
    "the last two removed": ([removed("> 3")], 3, "missing after"),
    "two gaps": ([removed("IN (2, 4)")], 3, "missing before"),
    "all but the last removed": ([removed("< 5")], 5, "missing before"),
    "all removed": ([removed("> 0")], 0, "missing after"),
    "one removed and the gap closed": ([removed("= 2"), renumbered((3, 2), (4, 3), (5, 4))], 2, "changed"),
    "the last one hidden": ([removed("= 5"), of_job("version = 4")], 4, "changed"),
    "one added at the end": ([copied(5, 6)], 6, "added"),
    "one added at the end, with its hash": ([copied(5, 6), chained(6)], 6, "added"),
    "two added at the end, with their hashes": ([copied(4, 6), copied(5, 7), chained(6, 7)], 6, "added"),
    "one added at the end, and counted": ([copied(5, 6), of_job("version = 6")], 6, "changed"),
    "one added, hashed and counted": ([copied(5, 6), chained(6), of_job("version = 6")], 6, "changed"),
    "one added before the first": ([copied(1, 0)], 0, "added"),
    "one added far before the first": ([copied(1, -7)], -7, "added"),
    "one added in the middle": ([renumbered((3, 4), (4, 5), (5, 6)), copied(2, 3)], 3, "changed"),
    "one added far behind": ([copied(5, 9)], 9, "added"),
    "the first two swapped": ([renumbered((1, 2), (2, 1))], 1, "changed"),
    "two in the middle swapped": ([renumbered((3, 4), (4, 3))], 3, "changed"),
    "the last two swapped": ([renumbered((4, 5), (5, 4))], 4, "changed"),
    "the first and the last swapped": ([renumbered((1, 5), (5, 1))], 1, "changed"),
    "two swapped, but for their hashes": (
        [renumbered((3, 4), (4, 3)), chained(3, 4)], 5, "changed"
    ),
    "one renumbered": ([renumbered((3, 30))], 4, "missing before"),
    "all renumbered": ([renumbered((1, 2), (2, 3), (3, 4), (4, 5), (5, 6))], 2, "missing before"),
    "one altered, with its hash": ([of_event(3, "actor_name = 'Eve'"), chained(3)], 4, "changed"),
    "the last one altered, with its hash": ([of_event(5, "actor_name = 'Eve'"), chained(5)], 5, "changed"),
    "the chain's end changed": ([of_job("chain = sha256(chain)")], 5, "changed"),
    "the chain's end emptied": ([of_job("chain = ''")], 5, "changed"),
    "the version raised": ([of_job("version = 6")], 5, "missing after"),
    "the version lowered": ([of_job("version = 4")], 5, "added"),
    "the version lowered twice": ([of_job("version = 3")], 4, "added"),
    "all removed, and the job before it": ([removed("> 0"), of_job("version = 0, chain = ''")], 0, "missing after"),
    "all removed, and the job far before it": ([removed("> 0"), of_job("version = -7")], 0, "missing after"),
    "the job's status changed": ([of_job("status = 'failed'")], 5, "missing after"),
    "the job's time changed": ([of_job("updated_at = updated_at - interval '1 us'")], 5, "missing after"),
    "the job removed": (["DELETE FROM scrape_jobs WHERE id = %(job)s"], 1, "without a job"),
}  # fmt: skip
"""What may be done to a job with five events, and the first one that is then not as it was."""


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_is_removed_added_or_put_elsewhere_is_found_and_named(
    ledger: Ledger, name: str
) -> None:
    statements, seq, kind = TAMPERINGS[name]
    _, job, _ = (ledger.life() for _ in range(3))
    assert ledger.verify() == []
    for statement in ";".join(statements).split(";"):
        ledger.sql(statement, job=job)
    found = ledger.verify()
    if name == "one added far behind":  # both is true of it
        found = [line.replace("missing before", "added") for line in found]
    assert found == [fault(job, seq, kind)]


def test_an_event_that_moves_to_another_job_is_missed_there_and_found_here(ledger: Ledger) -> None:
    job, other = ledger.life(), ledger.life()
    ledger.sql(
        "UPDATE job_events SET job_id = %(o)s, seq = 6 WHERE job_id = %(j)s AND seq = 3",
        j=job,
        o=other,
    )
    assert ledger.verify() == sorted([fault(job, 4, "missing before"), fault(other, 6, "added")])


def test_two_histories_that_change_places_are_found(ledger: Ledger) -> None:
    job, other = ledger.life(), ledger.life()
    for old, new in ((job, FIRST_ID), (other, job), (FIRST_ID, other)):
        ledger.sql(
            "UPDATE job_events SET job_id = %(new)s WHERE job_id = %(old)s",
            old=str(old),
            new=str(new),
        )
    assert ledger.verify() == sorted([fault(job, 1, "changed"), fault(other, 1, "changed")])


@pytest.mark.parametrize("new_id", [str(FIRST_ID), "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_a_history_that_is_another_job_s_now_is_found(ledger: Ledger, new_id: str) -> None:
    job, _ = ledger.life(), ledger.life()
    ledger.sql("UPDATE scrape_jobs SET id = %(n)s WHERE id = %(j)s", j=job, n=new_id)
    ledger.sql("UPDATE job_events SET job_id = %(n)s WHERE job_id = %(j)s", j=job, n=new_id)
    assert ledger.verify() == [fault(new_id, 1, "changed")]


def test_a_walk_ends_with_the_last_job_that_there_can_be_however_full_its_step_is(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_queries, "JOBS_BATCH", 1)
    job, last = ledger.life(), "ffffffff-ffff-ffff-ffff-ffffffffffff"
    ledger.sql("UPDATE scrape_jobs SET id = %(n)s WHERE id = %(j)s", j=job, n=last)
    ledger.sql("DELETE FROM job_events WHERE job_id = %(j)s", j=job)
    assert ledger.verify() == [fault(last, 0, "missing after")]


def test_the_very_first_event_that_there_can_be_is_looked_at(ledger: Ledger) -> None:
    job = ledger.life()
    ledger.sql(copied(1, FIRST_SEQ, f"'{FIRST_ID}'"), job=job)
    assert ledger.verify() == [fault(FIRST_ID, FIRST_SEQ, "without a job")]
    ledger.sql("UPDATE scrape_jobs SET id = %(n)s WHERE id = %(j)s", j=job, n=str(FIRST_ID))
    ledger.sql("UPDATE job_events SET job_id = %(n)s WHERE job_id = %(j)s", j=job, n=str(FIRST_ID))
    assert ledger.verify() == [fault(FIRST_ID, FIRST_SEQ, "added")]


@pytest.mark.parametrize("version", [0, -1, -7])
def test_a_history_that_was_removed_is_missed_when_another_has_begun(
    ledger: Ledger, version: int
) -> None:
    _, job = ledger.life(), ledger.life()
    ledger.sql(removed("> 0"), job=job)
    ledger.sql(of_job(f"version = {version}, chain = ''"), job=job)
    for pages in range(3):
        ledger.change(job, stats={"pagesProcessed": pages})
    first = fault(job, 1, "missing before") if version == 0 else fault(job, version + 1, "added")
    assert ledger.verify() == [first]


def test_events_of_a_job_that_there_never_was_are_one_fault_however_many(ledger: Ledger) -> None:
    ledger.life()
    nobody = uuid.uuid4()
    ledger.sql(
        "INSERT INTO job_events (job_id, seq, at, action, new_status, actor_type, changes)"
        " SELECT %(job)s, n, now(), 'updated', 'running', 'system', '{}' FROM generate_series(3, %(last)s) AS n",
        job=str(nobody),
        last=2 * EVENTS_BATCH,
    )
    assert ledger.verify() == [fault(nobody, 3, "without a job")]


def test_every_job_that_is_wrong_is_named_once_and_by_its_first(ledger: Ledger) -> None:
    jobs = [ledger.life() for _ in range(6)]
    ledger.sql(
        "UPDATE job_events SET actor_name = 'Eve' WHERE job_id = %(job)s AND seq > 2", job=jobs[1]
    )
    ledger.sql("UPDATE job_events SET request_id = NULL WHERE job_id = %(job)s", job=jobs[3])
    ledger.sql("DELETE FROM job_events WHERE job_id = %(job)s AND seq > 1", job=jobs[5])
    expected = [
        fault(jobs[1], 3, "changed"),
        fault(jobs[3], 1, "changed"),
        fault(jobs[5], 1, "missing after"),
    ]
    assert ledger.verify() == sorted(expected)


# ------------------------------------------------------------------------------------------------------- no false alarm


SETTINGS: Sequence[Mapping[str, str]] = (
    {
        "timezone": "Asia/Kathmandu",
        "datestyle": "SQL,DMY",
        "bytea_output": "escape",
        "extra_float_digits": "-15",
    },
    {
        "timezone": "America/St_Johns",
        "datestyle": "German",
        "intervalstyle": "iso_8601",
        "extra_float_digits": "3",
    },
    {
        "lc_numeric": "C",
        "standard_conforming_strings": "off",
        "quote_all_identifiers": "on",
        "xmlbinary": "hex",
    },
    {
        "plan_cache_mode": "force_custom_plan",
        "enable_mergejoin": "off",
        "enable_hashjoin": "off",
        "enable_sort": "off",
    },
)
STATS = {
    "pagesProcessed": 1.0, "one": 1, "tiny": 5e-324, "huge": 1.7976931348623157e308, "half": 0.1, "minus": -0.0,
    "digits": 10**400, "text": "Ω≈ç√ 😀 \u2028 \"quoted\" \\ \t", "": None, "deep": {"a": [[], {}, None, True, 1.50]},
}  # fmt: skip


def test_no_setting_of_a_session_makes_what_is_written_or_read_another(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers = [ledger]
    for settings in SETTINGS:
        with monkeypatch.context() as patched:
            for name, value in settings.items():
                patched.setitem(REQUIRED if name in REQUIRED else DEFAULTS, name, value)
            ledgers.append(Ledger(ledger.url))
    for one in ledgers:
        job = one.life()
        one.change(job, stats=STATS)
        one.claim(job)
        one.change(job, status="completed", completed_at="2500-01-01T00:00:00.123456Z")
        assert len(one.events(job)) == 8
    assert [one.verify() for one in ledgers] == [[]] * len(ledgers)
    for one in ledgers[1:]:
        one.close()


ODD = (
    ("'2024-02-29T23:59:59.999999Z'", "1", "'NaN'", "'{}'"),
    (
        "'0044-03-15 12:00:00.000001 BC'",
        "NULL",
        "'Infinity'",
        '\'{"a": 1.0, "b": 1, "c": 1.00, "d": 1e400}\'',
    ),
    (
        "'9999-12-31T23:59:59.999999Z'",
        "9223372036854775807",
        "'-0'",
        '\'{"": "\\u00e9 \\\\u0041 \\""}\'',
    ),
    ("'2024-03-31T01:30:00.5+01:00'", "0", "5e-324", "NULL"),
    (
        "'epoch'",
        "-1",
        "1.7976931348623157e308",
        '\'{"a": 1e-400, "b": -0.0, "c": [null, {"d": {}}]}\'',
    ),
    ("now()", "NULL", "NULL", "jsonb_build_object('long', repeat('ä', 300000))"),
)
"""Time, previous_seq, seconds and stats, most of them as no request can make them but the table can
hold."""


def test_odd_values_are_the_same_when_they_are_read_again(ledger: Ledger) -> None:
    job = ledger.life()
    written = {
        "action": "", "actor_type": "system", "actor_id": None, "actor_name": "\u0001 '\"\\ 😀", "request_id": "null",
        "address": "fe80::1%eth0",
    }  # fmt: skip
    for at, previous_seq, seconds, stats in ODD:
        event = f"""SELECT cur.id, cur.version + 1, {at}::timestamptz, NULL::text, cur.status,
            coalesce({stats}::jsonb, '{{}}'), {stats}::jsonb, {previous_seq}::bigint, NULL::int, {seconds}::float8,
            NULL::text FROM cur"""
        ledger.sql(
            f"""
            WITH cur AS (SELECT * FROM scrape_jobs WHERE id = %(id)s::uuid),
            {events.happened(event, previous="(SELECT cur.chain FROM cur)")}, job AS (
                UPDATE scrape_jobs j SET version = event.seq, chain = event.hash, updated_at = event.at
                FROM event WHERE j.id = event.job_id)
            {events.APPEND}
            """,
            id=job,
            **written,
        )
    assert ledger.sql("SELECT count(*) FROM job_events WHERE job_id = %(job)s", job=job) == [
        (5 + len(ODD),)
    ]
    assert ledger.verify() == []


OLD_JOBS = """
WITH odd AS (
    SELECT row_number() OVER () AS place, o.* FROM (VALUES
        (timestamptz '2024-02-29 23:59:59.999999Z', float8 'NaN', jsonb '{"a": 1.0, "b": 1, "c": 1e400}', 'é 😀'),
        (timestamptz '1969-12-31 23:59:59.000001Z', float8 'Infinity', jsonb '{"": null, "\\u00e9": [-0.0]}', NULL),
        (timestamptz '2024-03-31 01:30:00+01', float8 '-0', NULL, ''),
        (timestamptz '9999-12-31 23:59:59.5Z', NULL, jsonb '{}', 'null')) AS o (at, seconds, stats, name)
), job AS (
    INSERT INTO scrape_jobs (id, domain_id, domain, job_type, status, priority, max_retries, created_at, updated_at,
        version, status_seq)
    SELECT gen_random_uuid(), gen_random_uuid(), 'old.example', 'scrape', 'running', 5, 3, odd.at, odd.at, events, 2
    FROM unnest(%(events)s::int[]) AS events JOIN odd ON odd.place = 1 + events %% 4 RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, actor_id, actor_name,
        request_id, changes, stats, previous_seq, retry_count, seconds, error_message)
    SELECT job.id, seq, odd.at, 'updated', CASE WHEN seq > 1 THEN 'pending' END, 'running', 'key', odd.name, odd.name,
        odd.name, coalesce(odd.stats, '{}'), odd.stats, nullif(seq - 1, 0), seq, odd.seconds, odd.name
    FROM job, generate_series(1, job.version) AS seq JOIN odd ON odd.place = 1 + seq %% 4
) SELECT id FROM job
"""
"""Jobs as the release before the chain wrote them, with so many events each."""


def test_what_was_recorded_before_there_were_chains_is_chained_by_the_migration(
    empty_database: str,
) -> None:
    app = create_app(Settings(auth="off", rate_limit=False, database_url=empty_database))
    with app.app_context():
        upgrade(revision="0004")
        app.extensions["sqlalchemy"].engine.dispose()
    connection = psycopg2.connect(empty_database)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET search_path = public")
        cursor.execute(OLD_JOBS, {"events": [1, 2, 3, 5, 8, 300, *[4] * 200]})
        jobs = [job for (job,) in cursor.fetchall()]
    connection.close()
    migrate(empty_database)
    with a_ledger(empty_database) as ledger:
        assert ledger.verify() == []
        for job in jobs[:6]:
            ledger.change(job, stats={"a": 1})
            ledger.change(job, status="completed")
        assert ledger.verify() == []
        ledger.sql(
            "UPDATE job_events SET seconds = 0 WHERE job_id = %(job)s AND seq = 2", job=jobs[5]
        )
        assert ledger.verify() == [fault(jobs[5], 2, "changed")]


def test_what_is_pruned_is_not_missed_and_what_is_kept_is_still_watched(ledger: Ledger) -> None:
    gone, kept = ([ledger.life() for _ in range(3)] for _ in range(2))
    for job in gone:
        ledger.done("DELETE", f"{JOBS}/{job}")
    ledger.sql("TRUNCATE outbox, uncounted_events")
    pruned = ledger.app.test_cli_runner().invoke(args=["jobs", "prune", "--older-than", "0s"])
    assert pruned.stdout == "Removed 3 jobs; kept 3 jobs of that age.\n"
    assert ledger.verify() == []
    ledger.sql("DELETE FROM job_events WHERE job_id = %(job)s AND seq = 1", job=kept[1])
    assert ledger.verify() == [fault(kept[1], 2, "missing before")]


def test_a_history_of_any_length_is_verified_in_steps(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A progress report a second makes thousands of events a job, and no statement may take longer
    than 5 seconds.

    Here a statement may take less time, so that the history need not be that long.
    """
    job = ledger.life()
    ledger.sql(
        "INSERT INTO job_events SELECT (jsonb_populate_record(e, jsonb_build_object('seq', n))).*"
        " FROM job_events e, generate_series(6, 20005) AS n WHERE job_id = %(job)s AND seq = 3",
        job=job,
    )
    ledger.sql("UPDATE scrape_jobs SET version = 20005 WHERE id = %(job)s", job=job)
    monkeypatch.setitem(DEFAULTS, "statement_timeout", "120ms")
    with a_ledger(ledger.url) as hurried:
        assert hurried.verify() == [fault(job, 6, "changed")]


@pytest.mark.parametrize(
    "statement", ["verify_events", "verify_ends_of_histories", "events_of_job"]
)
def test_a_step_that_takes_too_long_is_done_in_smaller_ones(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    job, other = ledger.life(), ledger.life()
    ledger.sql(removed("= 5"), job=other)
    seen, run = [], database.run

    def reluctant(asked: database.Statement, parameters: database.Parameters) -> list[database.Row]:
        if asked.name == statement:
            seen.append(parameters["limit"])
            if parameters["limit"] > 1:
                raise DatabaseTimeout
        return run(asked, parameters)

    monkeypatch.setattr(database, "run", reluctant)
    assert ledger.verify() == [fault(other, 4, "missing after")]
    assert [event["seq"] for event in shown(ledger, job)] == [1, 2, 3, 4, 5]
    smallest = seen[: seen.index(1) + 1]
    assert smallest == sorted(smallest, reverse=True)
    assert seen.count(1) > 2


# ------------------------------------------------------------------------------------------------------- the commands


def shown(ledger: Ledger, job: str) -> list[dict[str, Any]]:
    """Return what `flask audit show` says of the job's events."""
    result = ledger.app.test_cli_runner().invoke(args=["audit", "show", job])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_everything_that_is_recorded_is_shown_as_precisely_as_it_is(ledger: Ledger) -> None:
    job = ledger.life()
    for seq in (0, -1, FIRST_SEQ):
        ledger.sql(copied(3, seq), job=job)
    rows = ledger.sql(
        "SELECT to_jsonb(e), e.at, e.hash FROM job_events e WHERE job_id = %(job)s ORDER BY seq",
        job=job,
    )
    recorded = [{**row, "at": at, "hash": bytes(digest).hex()} for row, at, digest in rows]
    assert [row["seq"] for row in recorded] == [FIRST_SEQ, -1, 0, 1, 2, 3, 4, 5]
    assert any(row["at"].microsecond % 1000 for row in recorded)
    assert {ADDRESS} == {row["address"] for row in recorded}
    for column in ("stats", "previous_seq", "retry_count", "seconds", "error_message"):
        assert any(row[column] is not None for row in recorded), column
    assert [
        {**event, "at": datetime.fromisoformat(event["at"])} for event in shown(ledger, job)
    ] == recorded


def test_a_long_history_is_shown_in_full(ledger: Ledger) -> None:
    job, last = ledger.life(), 2 * SHOWN_BATCH + 7
    ledger.sql(
        copied(3, "n").replace(" WHERE", f", generate_series(6, {last}) AS n WHERE"), job=job
    )
    assert [event["seq"] for event in shown(ledger, job)] == list(range(1, last + 1))


def test_the_command_says_all_is_well_or_names_what_is_not_and_exits_with_1(ledger: Ledger) -> None:
    job = ledger.life()
    well = flask(ledger.url, "audit", "verify")
    assert (well.returncode, well.stdout) == (0, f"{ALL_IS_WELL}\n")
    ledger.sql("UPDATE job_events SET address = NULL WHERE job_id = %(job)s AND seq = 4", job=job)
    wrong = flask(ledger.url, "audit", "verify")
    assert (wrong.returncode, wrong.stdout) == (1, f"{fault(job, 4, 'changed')}\n")
    assert wrong.stderr.splitlines()[-1] == "Error: The history of 1 job is not as it was written"


def test_the_command_without_a_database_says_so_in_a_line() -> None:
    failed = flask("postgresql://nobody@127.0.0.1:1/none", "audit", "verify")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("Error: Database ")


# ------------------------------------------------------------------------------------------- a life with many at once


@dataclass
class Asked:
    """A request that was made: whose key, its id, what for, and of the answer what tells which
    events it left."""

    key_id: str
    request_id: str
    what: str
    status: int
    jobs: Mapping[str, str | None]
    """The jobs that it says it changed, with their ETags where it says them."""


class Writers:
    """Many at once who do to a few jobs whatever comes to their mind, and note what they were
    answered."""

    EXPECTED: Mapping[str, Sequence[Sequence[str]]] = {
        "create": [["created"]],
        "claim": [["claimed"]],
        "put": [["updated"]],
        "patch": [["updated"]],
        "cancel": [["cancelled"]],
        "retry": [["retried"]],
        "give up": [["given_up", "retried"], ["retried"]],
        "release": [["released", "released"]],
        "heartbeat": [[]],
    }
    """What a job's events of one request are, where it succeeds."""

    def __init__(self, service: Service, keys_by_name: Mapping[str, str]) -> None:
        self.service = service
        self.keys = list(keys_by_name.values())
        self.asked: list[Asked] = []
        self.jobs: list[str] = []
        self.tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def work(self, seed: int, rounds: int) -> None:
        dice = random.Random(seed)
        with requests.Session() as session:
            for _ in range(rounds):
                self.step(session, dice)

    def step(self, session: requests.Session, dice: random.Random) -> None:
        job = dice.choice(self.jobs) if len(self.jobs) >= 12 and dice.random() < 0.93 else None
        what = dice.choice(["put", "put", "put", "patch", "claim", "claim", "cancel", "retry", "give up", "release",
                            "heartbeat"]) if job else "create"  # fmt: skip
        token = {"X-Lease-Token": self.tokens.get(job or "", "none")}
        progress = {"stats": {"pagesProcessed": dice.randrange(9), "é": "😀" * dice.randrange(9)}}
        status = {"status": dice.choice(["running", "completed", "failed", "failed", "pending"])}
        new = {"domain": new_domain(), "max_retries": dice.choice([0, 1, 100])}
        batch = [new, new] if dice.random() < 0.3 else new
        matches = {"If-Match": f'"{dice.randrange(1, 9)}"'} if dice.random() < 0.1 else {}
        calls: Mapping[str, tuple[str, str, Any, Mapping[str, str]]] = {
            "create": ("POST", "", batch, {}),
            "claim": ("POST", "/next", {"worker_id": f"w{dice.random()}", "limit": 2}, {}),
            "put": ("PUT", ONE, dice.choice([progress, {**progress, **status}, status]), matches),
            "patch": ("PATCH", ONE, {**progress, "metadata": {"k": dice.choice([None, 1])}}, MERGE),
            "cancel": ("DELETE", ONE, None, {}),
            "retry": ("POST", RETRY, {}, {}),
            "give up": ("POST", RETRY, {}, token),
            "release": ("POST", RELEASE, {}, token),
            "heartbeat": ("POST", HEARTBEAT, {}, token),
        }
        method, path, body, headers = calls[what]
        key, request_id = dice.choice(self.keys), uuid.uuid4().hex
        answer = session.request(
            method,
            self.service.jobs + path.replace("<id>", job or ""),
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}", "X-Request-ID": request_id,
                     **headers},
            timeout=30,
        )  # fmt: skip
        assert answer.status_code < 500 or answer.json()["details"] == "Lock timeout", answer.text
        data = answer.json().get("data") or []
        found = data if isinstance(data, list) else [data]
        with self._lock:
            etag = answer.headers.get("ETag")
            changed = {one["id"]: etag for one in found} if answer.ok else {job or "": None}
            self.asked.append(
                Asked(key.split("_")[1], request_id, what, answer.status_code, changed)
            )
            if what == "create":
                self.jobs.extend(changed)
            self.tokens.update(
                {one["id"]: one["lease_token"] for one in found if "lease_token" in one}
            )

    def compare(self, rows: Sequence[tuple[Any, ...]], names: Mapping[str, str]) -> None:
        """See that the events are those of the requests that were answered so, neither more nor
        fewer."""
        events_by_request: dict[tuple[str, str], list[tuple[int, str]]] = {}
        asked = {one.request_id: one for one in self.asked}
        for job, seq, actor_type, actor_id, actor_name, request_id, address, action in rows:
            if request_id is None:
                assert (actor_type, actor_id, actor_name, address) == ("system", None, None, None)
                assert action in ("lease_expired", "retried")
                continue
            whose = (actor_type, actor_id, actor_name, address)
            assert whose == (
                "key",
                asked[request_id].key_id,
                names[asked[request_id].key_id],
                "127.0.0.1",
            )
            events_by_request.setdefault((request_id, job), []).append((seq, action))
        for one in self.asked:
            for job, etag in one.jobs.items():
                happened = events_by_request.pop((one.request_id, job), [])
                actions = [action for _, action in happened if action != "cancel_heard"]
                if one.status >= 300:
                    assert actions in ([], ["given_up"] if one.what == "give up" else []), one
                    continue
                assert actions in self.EXPECTED[one.what], one
                if etag is not None and happened:
                    assert etag.strip('"').partition("-")[0] == str(happened[-1][0]), one
        assert events_by_request == {}


@pytest.fixture
def ready(empty_database: str) -> Iterator[tuple[Ledger, Service, Mapping[str, str]]]:
    """A service with locked doors on a database of its own, and keys by their holders' names."""
    migrate(empty_database)
    with a_ledger(empty_database) as ledger:
        keys_by_name = {name: ledger.key(name) for name in KEY_NAMES}
        with Service(empty_database, SCRAPE_JOBS_AUTH="keys", THREADS="6") as service:
            yield ledger, service, keys_by_name


def test_a_life_of_many_at_once_is_told_in_full_and_verifies_all_the_while(
    ready: tuple[Ledger, Service, Mapping[str, str]],
) -> None:
    ledger, service, keys_by_name = ready
    writers = Writers(service, keys_by_name)
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # shown where the test fails
    looks = []
    with ThreadPoolExecutor(7) as pool:
        command = pool.submit(flask, ledger.url, "audit", "verify")
        working = [pool.submit(writers.work, seed + number, 110) for number in range(6)]
        while not all(done.done() for done in working):
            looks.append(ledger.verify())
            # A worker that dies now and then, so that the sweeper has work, too.
            ledger.sql(
                "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE id = ("
                "SELECT id FROM scrape_jobs WHERE lease_expires_at IS NOT NULL ORDER BY random() LIMIT 1)"
                " AND lease_expires_at IS NOT NULL"
            )
            time.sleep(0.05)
        for done in working:
            done.result()
        during = command.result()
    assert (during.returncode, during.stdout) == (0, f"{ALL_IS_WELL}\n")
    assert len(looks) > 5
    assert looks == [[]] * len(looks)
    wait_until(
        lambda: ledger.sql("SELECT 1 FROM scrape_jobs WHERE lease_expires_at < now()") == [], 30
    )
    rows = ledger.sql(
        "SELECT job_id::text, seq, actor_type, actor_id, actor_name, request_id, address, action FROM job_events"
        " ORDER BY job_id, seq"
    )
    writers.compare(rows, {key.split("_")[1]: name for name, key in keys_by_name.items()})
    said = {row[7] for row in rows}
    assert said > {"created", "updated", "claimed", "cancelled", "retried", "lease_expired"}
    assert (
        ledger.sql(
            "SELECT 1 FROM scrape_jobs j WHERE version <> (SELECT max(seq) FROM job_events WHERE job_id = j.id)"
            " OR version <> (SELECT count(*) FROM job_events WHERE job_id = j.id)"
        )
        == []
    )
    wait_until(
        lambda: ledger.sql("SELECT 1 FROM outbox UNION ALL SELECT 1 FROM uncounted_events") == [],
        30,
    )
    pruned = flask(ledger.url, "jobs", "prune", "--older-than", "0s")
    assert re.match(r"Removed [1-9]\d* jobs?; kept", pruned.stdout), pruned.stderr
    well = flask(ledger.url, "audit", "verify")
    assert (well.returncode, well.stdout) == (0, f"{ALL_IS_WELL}\n")
