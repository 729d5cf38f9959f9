"""Watching a job until it is over, or until it has changed."""

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from app.errors import JobNotFound
from app.jobs import read_queries
from app.jobs.states import ENDED


class Until(StrEnum):
    """What a client waits for."""

    FINAL = "final"  # the attempt has ended: the job is completed, failed or cancelled
    CHANGE = "change"  # the job has another version; a heartbeat makes none


class Watch:
    """A job, and the state that a client waits for."""

    def __init__(self, job_id: UUID, until: Until, known_versions: Sequence[int]) -> None:
        """Watch a job; without `known_versions` a change is one after the first look at it."""
        self._job_id = job_id
        self._until = until
        self._known_versions = known_versions

    def is_reached(self) -> bool:
        """Return whether the job is in the awaited state now.

        Raises:
            JobNotFound: If the job does not exist.
            DatabaseFailure: If the database fails.
        """
        state = read_queries.state(self._job_id)
        if state is None:
            raise JobNotFound
        if self._until == Until.FINAL:
            return state.status in ENDED
        self._known_versions = self._known_versions or (state.version,)
        return state.version not in self._known_versions
