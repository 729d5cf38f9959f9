"""The exit codes of the command line. Wrong usage is 2, as click defines it."""

COMPLETED = 0
"""The command succeeded; `wait`, `watch`: the job is completed."""

FAILED = 1
"""`wait`, `watch`: the job failed. `cancel`, `retry`: a job could not be changed."""

CANCELLED = 3
"""`wait`, `watch`: the job was cancelled."""

NOT_FOUND = 4
"""The job does not exist."""

SERVICE = 5
"""The service refused the request, or cannot be reached."""

TIMED_OUT = 6
"""`wait`: the job is not over in time."""

INTERRUPTED = 130
"""Ctrl-C."""

BROKEN_PIPE = 141
"""The reader of the output has ended, as `head` does."""

TERMINATED = 143
"""SIGTERM."""

OF_STATUS = {"completed": COMPLETED, "failed": FAILED, "cancelled": CANCELLED}
"""The exit code for the final status of a job."""
