"""What is announced inside the process, after the commit. A crash loses an announcement: it hurries work, no more."""

from blinker import Signal

status_changed = Signal("A job's status changed")


def announce_status_change() -> None:
    """Tell whoever listens to `status_changed`."""
    status_changed.send()
