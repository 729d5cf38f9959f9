"""The log of repeated failures, such as those of an outage: one line each, few tracebacks."""

import logging
import time
from collections import Counter

SECONDS = 60
"""Each process logs the traceback of one kind of failure at most once in this time."""

_logged_at: dict[tuple[str, str, type], float] = {}
_left_out: Counter[tuple[str, str, type]] = Counter()


def log_failure(
    log: logging.Logger, level: int, text: str, *values: object, cause: BaseException | None
) -> None:
    """Log a failure, with the traceback of its cause at most once in `SECONDS`.

    The limit applies to each kind of failure: the logger, the text and the class of the cause. A
    line with a traceback has the number of tracebacks that were left out since the last one. Two
    threads that fail at the same moment may both log a traceback.

    Args:
        log: The logger.
        level: The log level.
        text: The message, with placeholders for `values`.
        values: The values of the placeholders.
        cause: The exception that caused the failure, if any.
    """
    kind = (log.name, text, type(cause))
    now = time.monotonic()
    if cause is None or now - _logged_at.get(kind, -SECONDS) < SECONDS:
        _left_out[kind] += 1
        log.log(level, text, *values, extra={"cause": type(cause).__name__} if cause else None)
        return
    _logged_at[kind] = now
    log.log(
        level, text, *values, exc_info=cause, extra={"tracebacks_left_out": _left_out.pop(kind, 0)}
    )
