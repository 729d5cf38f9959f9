"""What is announced inside the process, after the commit. A crash loses an announcement: it hurries
work, no more."""

from blinker import Signal

status_changed = Signal("A job's status changed")
work_came = Signal("A job came to be pending, or one ended that may have kept others from starting")


def announce_status_change() -> None:
    """Tell whoever listens to `status_changed`."""
    status_changed.send()


def announce_work() -> None:
    """Tell whoever listens to `work_came`."""
    work_came.send()
