"""Signals inside the process, sent after the commit.

They only make other threads work sooner. If the process crashes before it sends one, the work is
done with the next periodic run.
"""

from blinker import Signal

status_changed = Signal("The status of a job changed")
work_available = Signal("A job became pending, or a running one ended that may have blocked others")


def announce_status_change() -> None:
    """Send `status_changed`."""
    status_changed.send()


def announce_work() -> None:
    """Send `work_available`."""
    work_available.send()
