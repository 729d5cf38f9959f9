"""The exit codes of the command line."""

COMPLETED = 0
"""The command succeeded; `wait`: the job is completed."""

FAILED = 1
"""`wait`, `watch`: the job failed. `cancel`, `retry`: a job could not be changed."""

CANCELLED = 3
"""`wait`, `watch`: the job was cancelled."""

NOT_FOUND = 4
"""The job or webhook does not exist."""

SERVICE = 5
"""The service refused the request, or cannot be reached."""

TIMED_OUT = 6
"""`wait`: the job is not over in time."""

INTERRUPTED = 130
"""Ctrl-C."""

OF_STATUS = {"completed": COMPLETED, "failed": FAILED, "cancelled": CANCELLED}
"""The exit code for the final status of a job."""
