"""Signals to the server's master process."""

import signal
from types import FrameType


def exit_while_starting() -> None:
    """Make SIGTERM and SIGINT end a server that still starts by an exception, so that it stops what it has started.

    Gunicorn installs its own handlers later. This leaves them alone: at a reload they must stay.
    """
    for number, default in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) == default:
            signal.signal(number, _exit)


def restore_defaults() -> None:
    """Make the signals that stop a process stop this one, a worker that does not handle them yet."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def _exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(1)
