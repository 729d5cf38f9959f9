"""Tasks that run every few seconds, in a thread beside the requests."""

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


class DatabaseContext(Protocol):
    """A context in which a thread may use the database, such as Flask's ``app.app_context``."""

    def __call__(self) -> AbstractContextManager[object]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """A task that runs at an interval.

    Attributes:
        name: The task's name in the log.
        seconds: The time from the end of one run to the start of the next.
        work: Does the work. It may run in several processes at the same time, and may be
            interrupted at any point.
    """

    name: str
    seconds: float
    work: Callable[[], object]


class PeriodicTasks:
    """A thread that runs tasks one after another until it is stopped.

    The failure of a task is logged, and the task runs again after its interval.
    """

    def __init__(self, context: DatabaseContext, tasks: Sequence[PeriodicTask]) -> None:
        self._context = context
        self._tasks = tasks
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; each task runs at once."""
        self._thread = threading.Thread(target=self._run, name="periodic-tasks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until the current task has finished, and stop the thread."""
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
                self._run_task(task)
                due[task] = time.monotonic() + task.seconds

    def _run_task(self, task: PeriodicTask) -> None:
        try:
            task.work()
        except DatabaseFailure as failure:
            text = "periodic task %s failed: %s"
            log_failure(
                log, logging.WARNING, text, task.name, failure.details, cause=failure.__cause__
            )
        except Exception:  # an error in one run must not end the task for this process
            log.exception("periodic task %s failed", task.name)
