"""The columns of the running totals, and the bounds of the figures."""

from app.jobs.states import Status

STATES = tuple(str(status) for status in Status)

COUNTS = (*STATES, "retried", "timed", "memory_samples", "cpu_samples", "latency_samples")
SUMS = ("seconds", "pages", "page_seconds", "memory_sum", "cpu_sum", "latency_sum")
PEAKS = ("memory_peak", "cpu_peak", "latency_peak")
MEASURES = (*COUNTS, *SUMS, *PEAKS)

BUCKET_GROWTH = 1.0816
"""Ratio of the bounds of a duration bucket: its middle differs by at most 4 % from its values."""

MIN_DURATION_SECONDS = 0.001
"""A shorter duration counts as zero."""

ZERO_BUCKET = -1000
"""The bucket of durations that count as zero."""

NO_CUSTOMER = "none"
"""Stands in the totals for jobs without a customer."""

MAX_ERRORS = 10
"""Error patterns in an answer, for each group."""

MAX_GROUPS = 1000
"""Groups in an answer."""
