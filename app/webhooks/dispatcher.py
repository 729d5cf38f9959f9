"""The dispatcher: creates the deliveries of status changes and sends them, in rounds.

One round has these steps:

1. Create the endpoints of the settings; only in the first round.
2. Settle the attempts that have ended: record the results, adjust the throttles, and resume
   deliveries that waited for these.
3. Fan out: create the deliveries of the next status changes.
4. Claim due deliveries, as many as the throttles and the held deliveries allow.
5. Start their attempts in the sender threads.
6. Without deliveries in progress, pause shortly, so that the next round takes several changes at
   once. Then wait until there is new work, unless a step has left some.

Before each step, and while waiting, overdue attempts are ended.

Any number of dispatchers may run, in any processes. One thread of a dispatcher runs all database
statements, in batches; a pool of threads sends the requests and waits for receivers.
"""

import logging
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from app.errors import DatabaseFailure, DatabaseUnavailable
from app.observability.failure_log import log_failure
from app.observability.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_DELAY_SECONDS
from app.periodic import DatabaseContext
from app.vault import Vault
from app.webhooks import dispatch_queries as queries
from app.webhooks import service
from app.webhooks.attempt import DEADLINE_SECONDS, Attempt
from app.webhooks.claims import ClaimedDelivery, ClaimLimits, DeliveryKey
from app.webhooks.deliverer import Deliverer
from app.webhooks.evaluation import AttemptResult
from app.webhooks.fan_out import FanOut
from app.webhooks.targets import TargetPolicy
from app.webhooks.throttle import (
    MAX_HELD_DELIVERIES,
    MAX_UNTRUSTED_PER_CUSTOMER,
    SENDER_THREADS,
    EndpointThrottle,
    EndpointThrottles,
)

log = logging.getLogger(__name__)

MAX_START_DELAY_SECONDS = 10
LEASE_SECONDS = 25
"""An attempt starts within MAX_START_DELAY_SECONDS after the claim, or not at all, and ends before
the lease does: a delivery that is due again has no attempt in progress."""

IDLE_PAUSE_SECONDS = 0.03
"""The least time between two rounds while no delivery is in progress.

Each change of a status wakes the dispatcher. Without the pause, the rounds of an API that many
workers use took a quarter of all its time, even if no endpoint wanted the changes.
"""

DEADLINE_CHECK_SECONDS = 0.25
"""How often overdue attempts are ended."""


@dataclass(frozen=True, slots=True)
class DispatcherOptions:
    """The options of a dispatcher.

    Attributes:
        vault: Decrypts secrets and headers.
        policy: The allowed targets.
        configured_endpoints: The endpoints that the settings name.
        poll_seconds: Seconds between two looks for new work; `Dispatcher.wake` ends the wait.
        ca_file: A PEM file of certificate authorities to trust in addition to the public ones.
    """

    vault: Vault
    policy: TargetPolicy
    configured_endpoints: Sequence[service.ConfiguredEndpoint] = ()
    poll_seconds: float = 0.5
    ca_file: str | None = None


@dataclass
class Dispatcher:
    """Runs the dispatcher in a thread of its own.

    Attributes:
        context: Enters the application context and the tenant scope.
        options: The options.
    """

    context: DatabaseContext
    options: DispatcherOptions
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="webhook-dispatcher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Start the next round now instead of at the next poll. Never blocks."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the attempts in progress, release all other deliveries, and wait for the end."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self.context():
            _DispatcherLoop(self.options, self._wake, self._stopping).run()


@dataclass
class _HeldDelivery:
    """A claimed delivery; its attempt once that has started, its result once that has ended."""

    claimed: ClaimedDelivery
    claimed_at: float
    attempt: Attempt | None = None
    result: AttemptResult | None = None


class _DispatcherLoop:
    """The rounds of a dispatcher; the module's docstring lists their steps.

    All state belongs to the dispatcher's thread. The sender threads only put ended attempts into
    the queue `_ended`.
    """

    def __init__(
        self, options: DispatcherOptions, wake: threading.Event, stopping: threading.Event
    ) -> None:
        self._options = options
        self._wake = wake
        self._stopping = stopping
        self._claim_id = uuid.uuid4()
        self._held: dict[DeliveryKey, _HeldDelivery] = {}
        self._ended: queue.SimpleQueue[_HeldDelivery] = queue.SimpleQueue()
        self._unsettled: list[_HeldDelivery] = []
        self._throttles = EndpointThrottles()
        self._fan_out = FanOut()
        self._deliverer = Deliverer(options.vault, options.policy, options.ca_file)
        self._senders = ThreadPoolExecutor(SENDER_THREADS, thread_name_prefix="webhook-sender")
        self._has_created_endpoints = False
        self._has_more = False

    def run(self) -> None:
        """Run rounds until the dispatcher is stopped."""
        while not self._stopping.is_set():
            self._wake.clear()
            self._has_more = False
            self._run_steps()
            if not self._held:
                self._stopping.wait(IDLE_PAUSE_SECONDS)
            if not self._has_more:
                self._wait()
        self._finish()

    def _run_steps(self) -> None:
        """Run each step once. A failed step does not stop the next, unless the database is away."""
        for step in (
            self._create_configured_endpoints,
            self._settle_attempts,
            self._fan_out_changes,
            self._claim_deliveries,
        ):
            self._end_overdue_attempts()
            try:
                step()
            except DatabaseFailure as failure:
                text = "webhooks wait for the database: %s"
                log_failure(log, logging.WARNING, text, failure.details, cause=failure.__cause__)
                if isinstance(failure, DatabaseUnavailable):
                    return
            except Exception:  # one error must not end all deliveries of this process
                log.exception("webhooks continue after an unexpected error")

    def _create_configured_endpoints(self) -> None:
        """Step 1: create the endpoints of the settings, once."""
        if not self._has_created_endpoints:
            options = self._options
            service.sync_configured_endpoints(options.configured_endpoints, options.vault)
            self._has_created_endpoints = True

    def _settle_attempts(self) -> None:
        """Step 2: record the results of the attempts that have ended."""
        while not self._ended.empty():
            held = self._ended.get()
            self._unsettled.append(held)
            if held.result is not None:
                _measure(held.result)
                _adjust(self._throttles.of(held.claimed.endpoint_id), held.result)
        results = [held.result for held in self._unsettled if held.result is not None]
        if results:
            queries.settle(self._claim_id, results)
        for held in self._unsettled:
            self._held.pop(held.claimed.key, None)
        self._unsettled = []
        queries.resume(
            [(r.claimed.job_id, r.claimed.endpoint_id) for r in results if r.status != "pending"]
        )

    def _fan_out_changes(self) -> None:
        """Step 3: create the deliveries of the next status changes."""
        step = self._fan_out.step()
        self._has_more |= step.has_more
        queries.resume(step.postponed)

    def _claim_deliveries(self) -> None:
        """Step 4: claim as many due deliveries as may be held, and start them."""
        free = MAX_HELD_DELIVERIES - len(self._held)
        if free <= 0:
            return
        held = Counter(endpoint_id for _, _, endpoint_id in self._held)
        now = time.monotonic()
        shares = self._throttles.shares(held, now)
        limits = ClaimLimits(free, EndpointThrottle().window, MAX_UNTRUSTED_PER_CUSTOMER)
        batch = queries.claim(self._claim_id, shares, limits, LEASE_SECONDS)
        self._start_attempts(batch.deliveries, now)
        self._has_more |= bool(batch.postponed)
        queries.resume(batch.postponed)

    def _start_attempts(self, deliveries: Sequence[ClaimedDelivery], claimed_at: float) -> None:
        """Step 5: hand the claimed deliveries to the sender threads.

        A delivery that is held already was claimed again because a host name lookup outlasted its
        lease. Its second claim expires unused.
        """
        for claimed in deliveries:
            self._throttles.of(claimed.endpoint_id)
            if claimed.key not in self._held:
                held = self._held[claimed.key] = _HeldDelivery(claimed, claimed_at)
                self._senders.submit(self._attempt, held)

    def _attempt(self, held: _HeldDelivery) -> None:
        """Make an attempt, in a sender thread. Too late after the claim it ends without a result.

        While the dispatcher stops, no attempt starts; `_finish` releases the delivery.
        """
        if not self._stopping.is_set():
            if time.monotonic() - held.claimed_at < MAX_START_DELAY_SECONDS:
                held.attempt = Attempt()
                held.result = self._deliverer.deliver(held.claimed, held.attempt)
            self._ended.put(held)
            self._wake.set()

    def _wait(self) -> None:
        """Step 6: wait until the dispatcher is woken, at most until the next poll."""
        ends_at = time.monotonic() + self._options.poll_seconds
        while not self._wake.is_set() and (left := ends_at - time.monotonic()) > 0:
            self._wake.wait(min(left, DEADLINE_CHECK_SECONDS))
            self._end_overdue_attempts()

    def _end_overdue_attempts(self) -> None:
        for held in self._held.values():
            if held.attempt is not None and held.attempt.is_overdue:
                held.attempt.end()

    def _finish(self) -> None:
        """Settle the attempts in progress, and release the deliveries without an attempt."""
        self._senders.shutdown(wait=False, cancel_futures=True)
        try:
            self._settle_last_attempts()
            self._release_unattempted()
        except DatabaseFailure as failure:
            log.warning(
                "webhooks stop without the database: %s; unsettled deliveries are sent again"
                " after %s s",
                failure.details,
                LEASE_SECONDS,
            )

    def _settle_last_attempts(self) -> None:
        ends_at = time.monotonic() + DEADLINE_SECONDS + 2 * DEADLINE_CHECK_SECONDS
        while self._has_attempts() and time.monotonic() < ends_at:
            self._wake.clear()
            self._end_overdue_attempts()
            self._settle_attempts()
            if self._has_attempts():
                self._wake.wait(DEADLINE_CHECK_SECONDS)

    def _has_attempts(self) -> bool:
        return any(held.attempt is not None for held in self._held.values())

    def _release_unattempted(self) -> None:
        unattempted = [held.claimed for held in self._held.values() if held.attempt is None]
        if unattempted:
            queries.release(self._claim_id, unattempted)


def _adjust(throttle: EndpointThrottle, result: AttemptResult) -> None:
    if result.status == "delivered":
        throttle.succeed(result.attempt["duration_ms"] / 1000)
    else:
        throttle.fail(time.monotonic())


def _measure(result: AttemptResult) -> None:
    WEBHOOK_ATTEMPTS.labels("retry" if result.status == "pending" else result.status).inc()
    if result.status == "delivered":
        WEBHOOK_DELAY_SECONDS.observe(
            result.claimed.pending_seconds + result.attempt["duration_ms"] / 1000
        )
