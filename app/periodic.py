"""Work that has to be done every few seconds, in a thread beside the requests."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from app.errors import DatabaseFailure
from app.observability.failure_log import log_failure

log = logging.getLogger(__name__)


class Context(Protocol):
    """What makes the database usable in a thread of our own, such as Flask's
    ``app.app_context``."""

    def __call__(self) -> AbstractContextManager[object]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Something to be done every `seconds`; it has to be safe to do in many processes at once, and
    to break off."""

    name: str
    seconds: float
    work: Callable[[], object]


class PeriodicTasks:
    """A thread that does its tasks one after another until it is stopped; a failure is logged, and
    tried again."""

    def __init__(self, context: Context, tasks: Sequence[PeriodicTask]) -> None:
        self._context = context
        self._tasks = tasks
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it finish what it is at, and wait until it has."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        due = dict.fromkeys(self._tasks, 0.0)
        with self._context():
            while not self._stopping.is_set():
                task = min(due, key=due.__getitem__)
                if self._stopping.wait(max(due[task] - time.monotonic(), 0)):
                    return
                self._do(task)
                due[task] = time.monotonic() + task.seconds

    def _do(self, task: PeriodicTask) -> None:
        try:
            task.work()
        except DatabaseFailure as failure:
            text = "%s waits for the database: %s"
            log_failure(
                log, logging.WARNING, text, task.name, failure.details, cause=failure.__cause__
            )
        except Exception:  # a mistake in one round must not end the task for this process
            log.exception("%s goes on after an unexpected error", task.name)
