"""The dispatcher: turns status changes into deliveries and delivers them. Any number may run, in
any processes.

One thread does all the talking with the database, in batches; a pool of threads does the waiting
for receivers. A slow start keeps bad endpoints small: each begins with one try at a time, doubles
with every success as long as its answers are quick, and falls back to one with a failure, after
which it rests; and those whose last try failed may together hold no more than half of the senders.
"""

import json
import logging
import queue
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app import signing
from app.errors import DatabaseFailure, DatabaseUnavailable
from app.observability.failure_log import log_failure
from app.observability.metrics import WEBHOOK_DELAY_SECONDS, WEBHOOK_TRIES
from app.periodic import Context
from app.targets import Policy
from app.vault import SecretUnreadableError, Vault
from app.webhooks import backoff, service
from app.webhooks import dispatch_queries as queries
from app.webhooks.attempt import DEADLINE_SECONDS, Attempt
from app.webhooks.dispatch_queries import Claimed, Limits, Result, Share
from app.webhooks.fan_out import FanOut
from app.webhooks.sender import Answer, Sender

log = logging.getLogger(__name__)

SENDERS = 16
HELD = 64
"""Deliveries that are held at a time: being sent, or about to be."""

BEGIN_SECONDS = 10
LEASE_SECONDS = 25
"""A try begins within the one, or not at all, and is over within the other: what is due again,
nobody is at."""

BUSY_SECONDS = 4.0
"""How much of the senders' time one endpoint may take: as many tries at once as its last answer
leaves room for."""

SHORTEST_REST, LONGEST_REST = 0.5, 10.0
"""Seconds an endpoint is left alone after a failure, and after many: looking for its next costs all
others time."""

MOST_PACES = 10_000
"""Endpoints whose pace is remembered; past that, those at rest are forgotten, of which some may be
deleted."""

UNTRUSTED = SENDERS // 4
"""Senders that those endpoints of one customer may hold together that have not answered quickly the
last time."""

WATCH_SECONDS = 0.25
"""How often overdue tries are looked for."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a dispatcher works."""

    vault: Vault
    policy: Policy
    endpoints_of_settings: Sequence[service.EndpointOfSettings] = ()
    poll_seconds: float = 0.5
    ca_file: str | None = None


@dataclass
class _Pace:
    """How much an endpoint is trusted with: its window, and how often it has failed in a row."""

    window: int = 1
    failures: int = 0
    rests_until: float = 0.0

    @property
    def failing(self) -> bool:
        return self.failures > 0

    @property
    def trusted(self) -> bool:
        """Whether its last answers were quick."""
        return self.window > 1

    @property
    def resting(self) -> bool:
        return time.monotonic() < self.rests_until

    def succeed(self, seconds: float) -> None:
        room = max(1, int(BUSY_SECONDS / max(seconds, 0.001)))
        self.window, self.failures = min(self.window * 2, HELD, room), 0

    def fail(self) -> None:
        self.window, self.failures = 1, self.failures + 1
        self.rests_until = time.monotonic() + min(
            SHORTEST_REST * 2 ** min(self.failures - 1, 10), LONGEST_REST
        )


@dataclass
class _Held:
    """A delivery that was claimed, and its try once it has begun."""

    claimed: Claimed
    claimed_at: float
    attempt: Attempt | None = None
    result: Result | None = None


@dataclass
class Dispatcher:
    """See the module. `start` runs it in a thread of its own; `stop` ends it and loses nothing."""

    context: Context
    options: Options
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="webhook-dispatcher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something to do, which it would otherwise see with its next poll. Never
        blocks."""
        self._wake.set()

    def stop(self) -> None:
        """Let it finish the tries under way, give back the rest, and end; wait until it has."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self.context():
            _Run(self.options, self._wake, self._stopping).run()


class _Run:
    """The state of a running dispatcher. All of it belongs to the one thread but the two queues'
    ends."""

    def __init__(self, options: Options, wake: threading.Event, stopping: threading.Event) -> None:
        self._options = options
        self._wake = wake
        self._stopping = stopping
        self._claim = uuid.uuid4()
        self._held: dict[tuple[UUID, int, UUID], _Held] = {}
        self._paces: dict[UUID, _Pace] = {}
        self._tried: queue.SimpleQueue[_Held] = queue.SimpleQueue()
        self._unsettled: list[_Held] = []
        self._threads = threading.local()
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="webhook-sender")
        self._prepared = False
        self._fan_out = FanOut()
        self._has_more = False

    def run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._has_more = False
            self._do_round()
            if not self._has_more:
                self._wait()
        self._finish()

    def _do_round(self) -> None:
        """Do each step once. One that fails keeps no other from its work, unless the database is
        not there at all."""
        for step in (self._prepare, self._settle, self._make_deliveries, self._submit):
            self._end_overdue()
            try:
                step()
            except DatabaseFailure as failure:
                text = "webhooks wait for the database: %s"
                log_failure(log, logging.WARNING, text, failure.details, cause=failure.__cause__)
                if isinstance(failure, DatabaseUnavailable):
                    return
            except Exception:  # a mistake in one round must not end all deliveries of this process
                log.exception("webhooks go on after an unexpected error")

    def _prepare(self) -> None:
        """Make the endpoints of the settings, once."""
        if not self._prepared:
            service.keep_endpoints_of_settings(
                self._options.endpoints_of_settings, self._options.vault
            )
            self._prepared = True

    def _make_deliveries(self) -> None:
        """Turn some status changes into deliveries."""
        step = self._fan_out.step()
        self._has_more |= step.has_more
        queries.resume(step.put_off)

    def _wait(self) -> None:
        """Wait for news, at most until the next poll, and break off the tries that take too long
        meanwhile."""
        ends_at = time.monotonic() + self._options.poll_seconds
        while not self._wake.is_set() and (left := ends_at - time.monotonic()) > 0:
            self._wake.wait(min(left, WATCH_SECONDS))
            self._end_overdue()

    def _end_overdue(self) -> None:
        for held in self._held.values():
            if held.attempt is not None and held.attempt.is_overdue:
                held.attempt.end()

    def _submit(self) -> None:
        """Claim what there is room for and hand it to the senders."""
        free = HELD - len(self._held)
        if free <= 0:
            return
        in_flight = Counter(endpoint_id for _, _, endpoint_id in self._held)
        if len(self._paces) > MOST_PACES:
            self._paces = {
                id: pace for id, pace in self._paces.items() if in_flight[id] or pace.resting
            }
        failing = sum(n for endpoint_id, n in in_flight.items() if self._pace(endpoint_id).failing)
        shares = {}
        for endpoint_id, pace in self._paces.items():
            count = in_flight[endpoint_id]
            closed = pace.resting or (pace.failing and failing >= SENDERS // 2)
            shares[endpoint_id] = Share(
                count, 0 if closed else max(0, pace.window - count), pace.trusted
            )
        now = time.monotonic()
        limits = Limits(free, _Pace().window, UNTRUSTED)
        found, put_off = queries.claim(self._claim, shares, limits, LEASE_SECONDS)
        for claimed in found:
            self._pace(claimed.endpoint_id)
            if (
                _key(claimed) not in self._held
            ):  # else a look-up hangs past its lease: let this one lapse, too
                held = self._held[_key(claimed)] = _Held(claimed, now)
                self._pool.submit(self._try, held)
        self._has_more |= bool(put_off)
        queries.resume(put_off)

    def _pace(self, endpoint_id: UUID) -> _Pace:
        return self._paces.setdefault(endpoint_id, _Pace())

    def _settle(self) -> None:
        """Record the results that have come in."""
        while not self._tried.empty():
            self._unsettled.append(held := self._tried.get())
            pace = self._pace(held.claimed.endpoint_id)
            if held.result is None:
                continue
            _measure(held.result)
            if held.result.status == "delivered":
                pace.succeed(held.result.attempt["duration_ms"] / 1000)
            else:
                pace.fail()
        results = [held.result for held in self._unsettled if held.result is not None]
        if results:
            queries.settle(self._claim, results)
        for held in self._unsettled:
            self._held.pop(_key(held.claimed), None)
        self._unsettled = []
        queries.resume(
            [(r.claimed.job_id, r.claimed.endpoint_id) for r in results if r.status != "pending"]
        )

    def _finish(self) -> None:
        """Give back what no sender has begun, and wait for what is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        ends_at = time.monotonic() + DEADLINE_SECONDS + 2 * WATCH_SECONDS
        while (
            any(held.attempt is not None for held in self._held.values())
            and time.monotonic() < ends_at
        ):
            self._wake.clear()
            self._end_overdue()
            try:
                self._settle()
            except DatabaseFailure as failure:
                log.warning(
                    "webhooks end without the database: %s; what is unsettled is sent again",
                    failure.details,
                )
                return
            if any(held.attempt is not None for held in self._held.values()):
                self._wake.wait(WATCH_SECONDS)
        untried = [held.claimed for held in self._held.values() if held.attempt is None]
        if untried:
            try:
                queries.release(self._claim, untried)
            except DatabaseFailure:
                log.warning(
                    "webhooks end without the database; what was claimed is sent in %s s",
                    LEASE_SECONDS,
                )

    def _try(self, held: _Held) -> None:
        """Try one delivery, in a sender's thread; without a result where it is too late to
        begin."""
        if not self._stopping.is_set():
            if time.monotonic() - held.claimed_at < BEGIN_SECONDS:
                held.attempt = Attempt()
                held.result = self._send(held.claimed, held.attempt)
            self._tried.put(held)
            self._wake.set()

    def _send(self, claimed: Claimed, attempt: Attempt) -> Result:
        now = datetime.now(UTC)
        try:
            signature = signing.headers(str(claimed.id), now, claimed.body, self._secrets(claimed))
            headers = {**self._endpoint_headers(claimed), **signature}
            answer = self._sender().send(claimed.url, claimed.body, headers, attempt)
        except SecretUnreadableError:
            answer = _failure("The secret cannot be decrypted with the keys of the settings")
        except Exception:  # a try that ends without a result would hold its place for ever
            log.exception("a webhook could not be sent")
            answer = _failure("The request could not be made")
        return judge(claimed, answer, now, random.random())  # noqa: S311 - spreads waits, hides nothing

    def _secrets(self, claimed: Claimed) -> list[str]:
        """Return the secrets to sign with; a previous one whose key is gone is not missed."""
        secrets = [self._options.vault.open(claimed.sealed_secret)]
        if claimed.sealed_previous_secret is not None:
            with suppress(SecretUnreadableError):
                secrets.append(self._options.vault.open(claimed.sealed_previous_secret))
        return secrets

    def _endpoint_headers(self, claimed: Claimed) -> dict[str, str]:
        """Return the headers that the endpoint asks for. Raises SecretUnreadableError."""
        if claimed.sealed_headers is None:
            return {}
        headers: dict[str, str] = json.loads(self._options.vault.open(claimed.sealed_headers))
        return headers

    def _sender(self) -> Sender:
        if not hasattr(self._threads, "sender"):
            self._threads.sender = Sender(self._options.policy, self._options.ca_file)
        sender: Sender = self._threads.sender
        return sender


def judge(claimed: Claimed, answer: Answer, now: datetime, chance: float) -> Result:
    """Return what a try that began at `now` and was answered so means for its delivery and its
    endpoint.

    `chance`, from 0 to 1, spreads the wait before the next try.
    """
    delivered = answer.status_code is not None and 200 <= answer.status_code < 300
    attempt = {
        "at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "status_code": answer.status_code,
        "duration_ms": round(answer.seconds * 1000),
        "answer": answer.body,
        "error": answer.error,
    }
    if delivered:
        return Result(claimed, "delivered", attempt)
    retry_after = backoff.parse_retry_after(answer.retry_after, now)
    again = backoff.next_try_at(now, claimed.failures + 1, chance, retry_after)
    reason = None
    if answer.status_code == 410:
        reason = "The receiver answered 410 Gone"
    elif claimed.failing_since is not None and backoff.is_hopeless(now, claimed.failing_since):
        reason = f"Nothing but failures for {backoff.HOPELESS_AFTER.days} days"
    if again is None:
        return Result(claimed, "failed", attempt, disabled_reason=reason)
    return Result(claimed, "pending", attempt, (again - now) / timedelta(seconds=1), reason)


def _key(claimed: Claimed) -> tuple[UUID, int, UUID]:
    return claimed.job_id, claimed.seq, claimed.endpoint_id


def _measure(result: Result) -> None:
    WEBHOOK_TRIES.labels("retry" if result.status == "pending" else result.status).inc()
    if result.status == "delivered":
        WEBHOOK_DELAY_SECONDS.observe(
            result.claimed.owed_seconds + result.attempt["duration_ms"] / 1000
        )


def _failure(error: str) -> Answer:
    return Answer(None, "", error, None, 0.0)
