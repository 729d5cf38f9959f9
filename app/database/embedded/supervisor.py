"""The restart of an embedded server that has died."""

import logging
import time

import psutil

from app.database.embedded.postmaster import Postmaster
from app.database.embedded.programs import Programs

log = logging.getLogger(__name__)

STABLE_SECONDS = 60.0
"""A server that ran this long is restarted without delay when it dies."""

MAX_DELAY_SECONDS = 60.0


def restart_delay(failures: int) -> float:
    """Return the seconds to wait before the restart after `failures` failures in a row."""
    return 0.0 if failures <= 1 else min(2.0 ** (failures - 2), MAX_DELAY_SECONDS)


class Supervisor:
    """Restarts a server that has died, with a growing delay if it keeps dying."""

    def __init__(self, postmaster: Postmaster, programs: Programs) -> None:
        self._postmaster = postmaster
        self._programs = programs
        self._is_up = True
        self._is_death_recorded = False
        self._launched_at = time.monotonic()
        self._due_at = 0.0
        self._failures = 0

    def check(self) -> None:
        """Take the next step of a restart, if one is due. Never blocks; call it every second."""
        try:
            if self._postmaster.is_alive():
                self._watch_start()
            else:
                self._restart()
        except (OSError, psutil.Error) as error:
            log.error("PostgreSQL cannot be restarted: %s", error)
            self._record_death()

    def _watch_start(self) -> None:
        if self._is_up:
            return
        if self._postmaster.is_ready():
            self._is_up = True
            log.warning("PostgreSQL runs again")
        else:
            self._postmaster.log_recovery()

    def _restart(self) -> None:
        if not self._is_death_recorded:
            self._record_death()
        if time.monotonic() >= self._due_at and self._postmaster.end_leftovers():
            self._postmaster.launch(self._programs)
            self._launched_at = time.monotonic()
            self._is_death_recorded = False

    def _record_death(self) -> None:
        now = time.monotonic()
        reason = self._postmaster.log_file() if self._is_up else self._postmaster.failure()
        self._failures = 1 if now - self._launched_at > STABLE_SECONDS else self._failures + 1
        delay = restart_delay(self._failures)
        self._due_at = now + delay
        self._is_up = False
        self._is_death_recorded = True
        log.error("PostgreSQL has died (see %s); it is restarted in %g s", reason, delay)
