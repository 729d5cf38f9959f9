"""Reading the event log in the order of commits, for the streams of a process.

A change has the time when its transaction began, and becomes visible when that commits. A reader
that asks for "later than the last one" loses changes that are committed late. This one reads again
from its position, which is never later than the start of a transaction that may still commit, and
drops the versions that it knows.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from app.jobs import list_queries
from app.live import queries
from app.live.changes import ChangedJob, JobChange

OVERLAP = timedelta(seconds=0.5)
"""How far before its position each reading begins: a moment passes between the start of a
transaction and the moment when others can see that it is open."""

FRAME_SECONDS = 1.0
"""Minimum time between two frames of one job."""

BATCH_JOBS = 100
"""How many changed jobs are held in memory at a time; one may have 0.75 MiB."""

RECENT = timedelta(seconds=10)
WIDE_SCAN_SECONDS = 5.0
"""If a transaction is open for longer than RECENT, only each reading after this time begins before
it; the others find the commits of shorter transactions meanwhile."""


class Demand(Enum):
    """The parts of a changed job that streams need."""

    NOTHING = "nothing"
    LISTED_FIELDS = "listed fields"
    ALL_FIELDS = "all fields"


@dataclass(slots=True)
class _Sent:
    """The last change of a job that was read for the streams, and when."""

    version: int
    updated_at: datetime
    at: float


class ChangeLog:
    """The changes after a position, each once, at most one of each job in FRAME_SECONDS."""

    def __init__(self, position: datetime) -> None:
        self._position = position
        self._newest = position
        self._sent: dict[UUID, _Sent] = {}
        self._scanned_widely_at = 0.0

    def read(
        self, demand: Callable[[ChangedJob], Demand]
    ) -> Iterator[tuple[Sequence[JobChange], datetime]]:
        """Yield the changes since the last call, in batches, each with the position after it.

        If it fails, the next call continues with the batch that failed.

        Args:
            demand: Returns the parts of a job that the streams need.

        Raises:
            DatabaseFailure: If the database fails.
        """
        # Before the jobs: changes that are committed in between are then among the jobs.
        settled = list_queries.settled_before()
        since = self._begin()
        due, next_position = self._due(since, settled)
        if since > self._position - OVERLAP:  # changes before `since` may be unread
            next_position = self._position
        for is_whole, jobs in _by_demand(due, demand).items():
            for start in range(0, len(jobs), BATCH_JOBS):
                yield self._changes(jobs[start : start + BATCH_JOBS], is_whole), self._position
        for job in due:
            self._note(job)
        self._position = next_position
        self._forget(next_position - OVERLAP)
        yield (), next_position

    def _begin(self) -> datetime:
        """Return the time at which this reading begins."""
        begin, recent = self._position - OVERLAP, self._newest - RECENT
        now = time.monotonic()
        if begin >= recent or now - self._scanned_widely_at >= WIDE_SCAN_SECONDS:
            self._scanned_widely_at = now
            return begin
        return recent

    def _due(self, since: datetime, settled: datetime) -> tuple[list[ChangedJob], datetime]:
        """Return the jobs whose changes are due now, and the position after them."""
        now, due, position = time.monotonic(), [], max(settled, self._position)
        for job in queries.changed_jobs(since):
            self._newest = max(self._newest, job.updated_at)
            sent = self._sent.get(job.id)
            if sent is not None and sent.version >= job.version:
                continue
            if sent is not None and now - sent.at < FRAME_SECONDS:
                position = min(position, job.updated_at)  # it is read again then
            else:
                due.append(job)
        return due, position

    def _changes(self, jobs: Sequence[ChangedJob], is_whole: bool) -> Sequence[JobChange]:
        known = {job.id: sent.version if (sent := self._sent.get(job.id)) else 0 for job in jobs}
        changes = queries.job_changes(known, self._position - OVERLAP, with_documents=is_whole)
        for change in changes:
            self._note(change.job)
        return changes

    def _note(self, job: ChangedJob) -> None:
        sent = self._sent.get(job.id)
        if sent is None or sent.version < job.version:
            self._sent[job.id] = _Sent(job.version, job.updated_at, time.monotonic())

    def _forget(self, before: datetime) -> None:
        """Forget the jobs that later readings cannot find unless they are changed again."""
        self._sent = {id: sent for id, sent in self._sent.items() if sent.updated_at >= before}


def _by_demand(
    jobs: Sequence[ChangedJob], demand: Callable[[ChangedJob], Demand]
) -> dict[bool, list[ChangedJob]]:
    """Return the jobs that some stream shows, by whether one of the streams shows all fields."""
    found: dict[bool, list[ChangedJob]] = {False: [], True: []}
    for job in jobs:
        wanted = demand(job)
        if wanted is not Demand.NOTHING:
            found[wanted is Demand.ALL_FIELDS].append(job)
    return found
