"""Exponential backoff of jobs whose lease has expired."""

BASE_SECONDS = 15.0
MAX_BACKOFF_SECONDS = 3600.0
MAX_DOUBLINGS = 16
JITTER = 0.2


def delay_seconds(retry_count: int, chance: float) -> float:
    """Return the seconds until the next attempt of a job.

    The delay is 15 s, doubled with every retry up to one hour, and then varied by up to 20 % in
    either direction, so that jobs that were lost together do not all come back together.

    Args:
        retry_count: How often the job has been retried.
        chance: A random number from 0 to 1; it chooses the variation.
    """
    delay = min(BASE_SECONDS * 2.0 ** min(retry_count, MAX_DOUBLINGS), MAX_BACKOFF_SECONDS)
    return delay * (1 + JITTER * (2 * chance - 1))
