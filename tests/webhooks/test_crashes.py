"""Workers and dispatchers are killed repeatedly; every message arrives, unchanged and in order."""

import json
import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psutil
import requests
from requests import RequestException

from app.webhooks.dispatcher import LEASE_SECONDS
from support.receiver import Received, Receiver
from support.service import Dispatcher, Service, wait_until
from support.webhooks import ALLOW_LOOPBACK

SEED = 20240101
JOBS = 30
KILLS = 20
STEPS = ("running", "failed", "pending", "running", "completed")
CLIENTS = 6
DISPATCHERS = 2

Change = tuple[str, str, str]
"""A status change: the old status, the new one, and the time."""


class Killer:
    """Kills a worker or a dispatcher at random moments, until KILLS is reached or it is stopped."""

    def __init__(
        self, service: Service, dispatchers: list[Dispatcher], chance: random.Random
    ) -> None:
        self.kills = 0
        self._service = service
        self._dispatchers = dispatchers
        self._chance = chance
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while self.kills < KILLS and not self._stopping.wait(self._chance.uniform(0.3, 0.8)):
            if self._chance.random() < 0.5:
                self._kill_worker()
            else:
                victim = self._chance.choice(self._dispatchers)
                assert victim.process is not None
                victim.process.kill()
                victim.process.wait()
                victim.start()
            self.kills += 1

    def _kill_worker(self) -> None:
        assert self._service.process is not None
        workers = psutil.Process(self._service.process.pid).children()
        if workers:
            try:
                self._chance.choice(workers).kill()
            except psutil.NoSuchProcess:
                return


def drive(service: Service, job_id: str, chance: random.Random) -> list[str]:
    """Change the job through all STEPS and return the statuses that were answered with 200.

    A request that fails is repeated.
    """
    acknowledged = []
    for number, status in enumerate(STEPS):
        body = {"status": status, "stats": {"step": number, "text": "ä" * chance.randrange(200)}}
        time.sleep(chance.uniform(0.0, 0.8))
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline
            try:
                answer = requests.put(f"{service.jobs}/{job_id}", json=body, timeout=30)
                if answer.status_code == 200:
                    acknowledged.append(status)
                    break
                assert answer.status_code >= 500, answer.text
            except RequestException:
                pass
            if read(service, job_id)["stats"].get("step") == number:
                break  # the change was made, only the response was lost
    return acknowledged


def read(service: Service, job_id: str) -> dict[str, dict[str, int]]:
    """Return the job as soon as a worker answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            job: dict[str, dict[str, int]] = requests.get(
                f"{service.jobs}/{job_id}", timeout=10
            ).json()["data"]
        except (RequestException, KeyError):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return job


def changes_of(service: Service, job_id: str) -> list[Change]:
    """Return the status changes in the job's history."""
    events = requests.get(f"{service.jobs}/{job_id}/history?limit=200", timeout=30).json()["data"]
    return [
        (event["old_status"], event["new_status"], event["at"])
        for event in events
        if event["old_status"] not in (None, event["new_status"])
    ]


def first_arrivals(received: list[Received]) -> dict[str, list[Change]]:
    """Return each job's status changes in the order of their first arrival."""
    arrivals: dict[str, list[Change]] = defaultdict(list)
    for one in received:
        body = json.loads(one.body)
        change = (body["old_status"], body["new_status"], body["timestamp"])
        if change not in arrivals[body["job_id"]]:
            arrivals[body["job_id"]].append(change)
    return arrivals


def has_all(receiver: Receiver) -> bool:
    return len({one.id for one in receiver.at("/answer")}) >= JOBS * len(STEPS)


def test_kills_lose_and_reorder_no_delivery(
    fresh_database: str,
) -> None:
    chance = random.Random(SEED)
    settings = {**ALLOW_LOOPBACK, "WEB_CONCURRENCY": "2", "THREADS": "4"}
    dispatchers = [Dispatcher(fresh_database, **ALLOW_LOOPBACK) for _ in range(DISPATCHERS)]

    def answer(_: int) -> tuple[int, dict[str, str], bytes]:
        time.sleep(random.uniform(0, 0.05))  # so that there are attempts in progress to kill
        return 204, {}, b""

    with Receiver() as one, Receiver() as two, Service(fresh_database, **settings) as service:
        for receiver in (one, two):
            receiver.answer = answer
            service.webhook(f"{receiver.url}/answer")
        jobs = [
            service.create(domain=f"job{number}.example", max_retries=3)["id"]
            for number in range(JOBS)
        ]
        chances = {job: random.Random(chance.random()) for job in jobs}
        for dispatcher in dispatchers:
            dispatcher.start()
        try:
            with (
                Killer(service, dispatchers, chance) as killer,
                ThreadPoolExecutor(CLIENTS) as pool,
            ):
                acknowledged = dict(
                    zip(
                        jobs,
                        pool.map(lambda job: drive(service, job, chances[job]), jobs),
                        strict=True,
                    )
                )
            changes = {job: changes_of(service, job) for job in jobs}
            assert sum(map(len, changes.values())) == JOBS * len(STEPS) == 150
            assert sum(map(len, acknowledged.values())) > 100
            assert killer.kills >= 10
            for job in jobs:
                assert [new for _, new, _ in changes[job]] == list(STEPS)
            # Deliveries of a killed dispatcher are due again when their lease has expired.
            for receiver in (one, two):
                wait_until(partial(has_all, receiver), LEASE_SECONDS + 60)
            for receiver in (one, two):
                received = receiver.at("/answer")
                assert first_arrivals(received) == changes
                messages = defaultdict(set)
                for each in received:
                    messages[each.id].add(each.body)
                assert {len(bodies) for bodies in messages.values()} == {1}
                assert len(messages) == 150
            assert not {each.id for each in one.received} & {each.id for each in two.received}
        finally:
            for dispatcher in dispatchers:
                dispatcher.__exit__(None, None, None)
