"""The shared parts of the commands: lengths of time, tenant scope, error lines, progress bars.

Each package has its commands in a module of its own, `commands.py`; `app.factory` registers them.
"""

import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import click
from flask import current_app

from app.config import Settings
from app.database.tenant_scope import all_customers
from app.errors import DatabaseFailure, InvalidInput, KeyNotFound

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

log = logging.getLogger(__name__)

MAX_SECONDS = 1000 * 365 * 86400.0
"""Longest length of time: practically unlimited, but within the range of a timestamp."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Age(click.ParamType[float]):
    """A length of time such as 90d, in seconds."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds. Raises click.BadParameter."""
        match = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value))
        if match is None:
            self.fail(f"{value!r} is no length of time such as 90d, 12h or 30m", param, ctx)
        return min(float(match[1]) * _UNITS[match[2]], MAX_SECONDS)


class BackgroundRunner(Protocol):
    """Runs in threads of its own until it is stopped."""

    def start(self) -> None: ...  # noqa: D102

    def stop(self) -> None: ...  # noqa: D102


def run_until_stopped(extension: str, activity: str) -> None:
    """Run a background runner of the application until SIGTERM or SIGINT.

    Args:
        extension: Its name in `app.extensions`.
        activity: What it does, for the line that is printed when it has started.
    """
    settings: Settings = current_app.extensions["settings"]
    runner: BackgroundRunner = current_app.extensions[extension]
    for warning in settings.warnings(os.environ):
        log.warning(warning)
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked in all threads, because this thread waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    runner.start()
    click.echo(f"{activity}; press Ctrl-C to stop.", err=True)
    signal.sigwait(stop_signals)
    runner.stop()


@contextmanager
def administration() -> Iterator[None]:
    """Run a command's work with access to the rows of all customers.

    Raises:
        click.ClickException: The input is invalid, or the database failed; the message is one line.
    """
    try:
        with all_customers():
            yield
    except InvalidInput as error:
        raise click.ClickException(error.faults[0]) from None
    except KeyNotFound:
        raise click.ClickException(
            "There is no such key that is valid; flask keys list shows all"
        ) from None
    except DatabaseFailure as failure:
        raise click.ClickException(
            f"{failure.details}; the steps completed so far are kept"
        ) from failure


def progress_bar(length: int, label: str) -> "AbstractContextManager[ProgressBar[int]]":
    """Return a progress bar on standard error; only its label if that is no terminal."""
    return click.progressbar(length=length, label=label, file=sys.stderr)


def jobs_of(number: int) -> str:
    """Return the number with its noun: `1 job`, `2 jobs`."""
    return "1 job" if number == 1 else f"{number} jobs"
