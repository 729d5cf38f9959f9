"""When a job whose worker fell silent is tried again."""

BASE_SECONDS = 15.0
LONGEST_SECONDS = 3600.0
SPREAD = 0.2


def delay_seconds(retry_count: int, chance: float) -> float:
    """Return the seconds until the next attempt of a job that has been retried `retry_count` times.

    15 s, doubled with every retry up to an hour, and spread by a fifth to either side as `chance`,
    from 0 to 1, has it: jobs that were lost together must not come back together.
    """
    delay = min(BASE_SECONDS * 2.0 ** min(retry_count, 16), LONGEST_SECONDS)
    return delay * (1 + SPREAD * (2 * chance - 1))
