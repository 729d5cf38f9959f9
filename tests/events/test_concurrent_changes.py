"""Concurrent clients: every change is recorded once, and the audit finds no fault meanwhile."""

import json
import random
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from support.audit import (
    HEARTBEAT,
    KEY_NAMES,
    MERGE,
    NO_FAULTS,
    ONE,
    RELEASE,
    RETRY,
    AuditedService,
    audited_service,
    run_flask,
)
from support.database import migrate
from support.factories import new_domain
from support.service import Service, wait_until


@dataclass
class SentRequest:
    """A request that a client sent, and its response.

    Attributes:
        key_id: The id of the API key.
        request_id: The id of the request.
        operation: The operation, one of ConcurrentClients.EXPECTED.
        status: The status of the response.
        jobs: The ids of the jobs in the response, with the ETag if the response has one.
    """

    key_id: str
    request_id: str
    operation: str
    status: int
    jobs: Mapping[str, str | None]


OPERATIONS = (
    *["put"] * 3,
    "patch",
    *["claim"] * 2,
    "cancel",
    "retry",
    "give up",
    "release",
    "heartbeat",
)


class ConcurrentClients:
    """Clients that send random requests for a few jobs at the same time, and note the responses."""

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
    """The possible actions of a job's events after one successful request, by the operation."""

    def __init__(self, service: Service, keys_by_name: Mapping[str, str]) -> None:
        self.service = service
        self.keys = list(keys_by_name.values())
        self.sent: list[SentRequest] = []
        self.jobs: list[str] = []
        self.tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def work(self, seed: int, rounds: int) -> None:
        chance = random.Random(seed)
        with requests.Session() as session:
            for _ in range(rounds):
                self.send_request(session, chance)

    def send_request(self, session: requests.Session, chance: random.Random) -> None:
        job = chance.choice(self.jobs) if len(self.jobs) >= 12 and chance.random() < 0.93 else None
        operation = chance.choice(OPERATIONS) if job else "create"
        token = {"X-Lease-Token": self.tokens.get(job or "", "none")}
        progress = {
            "stats": {"pagesProcessed": chance.randrange(9), "é": "😀" * chance.randrange(9)}
        }
        status = {"status": chance.choice(["running", "completed", "failed", "failed", "pending"])}
        new = {"domain": new_domain(), "max_retries": chance.choice([0, 1, 100])}
        batch = [new, new] if chance.random() < 0.3 else new
        matches = {"If-Match": f'"{chance.randrange(1, 9)}"'} if chance.random() < 0.1 else {}
        calls: Mapping[str, tuple[str, str, Any, Mapping[str, str]]] = {
            "create": ("POST", "", batch, {}),
            "claim": ("POST", "/next", {"worker_id": f"w{chance.random()}", "limit": 2}, {}),
            "put": ("PUT", ONE, chance.choice([progress, {**progress, **status}, status]), matches),
            "patch": (
                "PATCH",
                ONE,
                {**progress, "metadata": {"k": chance.choice([None, 1])}},
                MERGE,
            ),
            "cancel": ("DELETE", ONE, None, {}),
            "retry": ("POST", RETRY, {}, {}),
            "give up": ("POST", RETRY, {}, token),
            "release": ("POST", RELEASE, {}, token),
            "heartbeat": ("POST", HEARTBEAT, {}, token),
        }
        method, path, body, headers = calls[operation]
        key, request_id = chance.choice(self.keys), uuid.uuid4().hex
        answer = session.request(
            method,
            self.service.jobs + path.replace("<id>", job or ""),
            data=None if body is None else json.dumps(body),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {key}",
                "X-Request-ID": request_id,
                **headers,
            },
            timeout=30,
        )
        assert answer.status_code < 500 or answer.json()["details"] == "Lock timeout", answer.text
        data = answer.json().get("data") or []
        found = data if isinstance(data, list) else [data]
        with self._lock:
            etag = answer.headers.get("ETag")
            changed = {one["id"]: etag for one in found} if answer.ok else {job or "": None}
            self.sent.append(
                SentRequest(key.split("_")[1], request_id, operation, answer.status_code, changed)
            )
            if operation == "create":
                self.jobs.extend(changed)
            self.tokens.update(
                {one["id"]: one["lease_token"] for one in found if "lease_token" in one}
            )

    def compare(self, rows: Sequence[tuple[Any, ...]], names: Mapping[str, str]) -> None:
        """Assert that the events are exactly those of the requests, according to the responses."""
        events_by_request: dict[tuple[str, str], list[tuple[int, str]]] = {}
        requests_by_id = {one.request_id: one for one in self.sent}
        for job, seq, actor_type, actor_id, actor_name, request_id, address, action in rows:
            if request_id is None:
                assert (actor_type, actor_id, actor_name, address) == ("system", None, None, None)
                assert action in ("lease_expired", "retried")
                continue
            provenance = (actor_type, actor_id, actor_name, address)
            assert provenance == (
                "key",
                requests_by_id[request_id].key_id,
                names[requests_by_id[request_id].key_id],
                "127.0.0.1",
            )
            events_by_request.setdefault((request_id, job), []).append((seq, action))
        for one in self.sent:
            for job, etag in one.jobs.items():
                appended = events_by_request.pop((one.request_id, job), [])
                actions = [action for _, action in appended if action != "cancel_heard"]
                if one.status >= 300:
                    assert actions in ([], ["given_up"] if one.operation == "give up" else []), one
                    continue
                assert actions in self.EXPECTED[one.operation], one
                if etag is not None and appended:
                    assert etag.strip('"').partition("-")[0] == str(appended[-1][0]), one
        assert events_by_request == {}


@pytest.fixture
def ready(empty_database: str) -> Iterator[tuple[AuditedService, Service, Mapping[str, str]]]:
    """Start a service with authentication on a database of its own; yield it with API keys."""
    migrate(empty_database)
    with audited_service(empty_database) as audited:
        keys_by_name = {name: audited.key(name) for name in KEY_NAMES}
        with Service(empty_database, SCRAPE_JOBS_AUTH="keys", THREADS="6") as service:
            yield audited, service, keys_by_name


def test_concurrent_changes_are_all_recorded_and_verified(
    ready: tuple[AuditedService, Service, Mapping[str, str]],
) -> None:
    audited, service, keys_by_name = ready
    clients = ConcurrentClients(service, keys_by_name)
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # pytest shows it if the test fails
    verifications = []
    with ThreadPoolExecutor(7) as pool:
        command = pool.submit(run_flask, audited.url, "audit", "verify")
        working = [pool.submit(clients.work, seed + number, 110) for number in range(6)]
        while not all(done.done() for done in working):
            verifications.append(audited.verify())
            # A worker stops responding now and then, so that the sweeper has jobs to rescue.
            audited.sql(
                "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE id = ("
                "SELECT id FROM scrape_jobs WHERE lease_expires_at IS NOT NULL"
                " ORDER BY random() LIMIT 1) AND lease_expires_at IS NOT NULL"
            )
            time.sleep(0.05)
        for done in working:
            done.result()
        during = command.result()
    assert (during.returncode, during.stdout) == (0, f"{NO_FAULTS}\n")
    assert len(verifications) > 5
    assert verifications == [[]] * len(verifications)
    wait_until(
        lambda: audited.sql("SELECT 1 FROM scrape_jobs WHERE lease_expires_at < now()") == [], 30
    )
    rows = audited.sql(
        "SELECT job_id::text, seq, actor_type, actor_id, actor_name, request_id, address, action"
        " FROM job_events ORDER BY job_id, seq"
    )
    clients.compare(rows, {key.split("_")[1]: name for name, key in keys_by_name.items()})
    actions = {row[7] for row in rows}
    assert actions > {"created", "updated", "claimed", "cancelled", "retried", "lease_expired"}
    assert (
        audited.sql(
            "SELECT 1 FROM scrape_jobs j"
            " WHERE version <> (SELECT max(seq) FROM job_events WHERE job_id = j.id)"
            " OR version <> (SELECT count(*) FROM job_events WHERE job_id = j.id)"
        )
        == []
    )
    wait_until(
        lambda: audited.sql("SELECT 1 FROM outbox UNION ALL SELECT 1 FROM uncounted_events") == [],
        30,
    )
    pruned = run_flask(audited.url, "jobs", "prune", "--older-than", "0s")
    assert re.match(r"Removed [1-9]\d* jobs?; kept", pruned.stdout), pruned.stderr
    after = run_flask(audited.url, "audit", "verify")
    assert (after.returncode, after.stdout) == (0, f"{NO_FAULTS}\n")
