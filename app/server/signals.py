"""Signals to the processes of the server."""

import ctypes
import functools
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

from app.http import shutdown

PR_SET_PDEATHSIG = 1
"""prctl(2): sets the signal that the kernel sends to a process when its parent ends."""


def exit_while_starting() -> None:
    """Make signals end a starting server by an exception, so that it stops its children.

    Gunicorn installs its own handlers later. They are kept, because this also runs at a reload. A
    signal that is ignored, such as SIGHUP under nohup, stays ignored.
    """
    defaults = {
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGINT: signal.default_int_handler,
    }
    _belongs_to_terminal()
    for number, default in defaults.items():
        if signal.getsignal(number) == default:
            signal.signal(number, _exit)


def end_with_parent(parent: int) -> None:
    """End this process on a stop signal and when its parent ends.

    For a worker that has no handlers of its own yet.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)


def announce_stop(arbiter: Any) -> None:
    """Make gunicorn's master announce a stop to all processes before it stops its workers.

    A second master, which SIGUSR2 has started, serves the same listeners: then the server goes on.
    """
    stop = arbiter.handle_term

    def announce_and_stop() -> None:
        if not arbiter.reexec_pid:
            shutdown.announce_server_stop()
        stop()

    arbiter.handle_term = announce_and_stop


def fix_workers(arbiter: Any) -> None:
    """Make gunicorn's master ignore SIGTTIN and SIGTTOU, which change the number of workers.

    Each worker of Granian has a listener of its own. Without its worker, connections would wait.
    """

    def ignore() -> None:
        arbiter.log.warning("The number of workers is fixed: restart with WEB_CONCURRENCY")

    arbiter.handle_ttin = arbiter.handle_ttou = ignore


def terminal_was_closed() -> bool:
    """Return whether this server was started without nohup in a terminal that is closed now."""
    return _belongs_to_terminal() and not _has_terminal()


@functools.cache
def _belongs_to_terminal() -> bool:
    """Return whether this process had a terminal and did not ignore SIGHUP when it started."""
    return signal.getsignal(signal.SIGHUP) == signal.SIG_DFL and _has_terminal()


def _has_terminal() -> bool:
    with suppress(OSError):  # ENXIO: no controlling terminal, or it is closed
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
        return True
    return False


def _exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(1)
