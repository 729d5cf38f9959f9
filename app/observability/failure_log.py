"""Logs failures that repeat, such as those of a database that is away: a line each, and a traceback
now and then."""

import logging
import time
from collections import Counter

SECONDS = 60
"""How often the traceback of one kind of failure is logged at most, by each process."""

_logged_at: dict[tuple[str, str, type], float] = {}
_left_out: Counter[tuple[str, str, type]] = Counter()


def log_failure(
    log: logging.Logger, level: int, text: str, *values: object, cause: BaseException | None
) -> None:
    """Log `text` with `values` and what caused it.

    The traceback goes along once in `SECONDS` for each kind, which is the logger, the text and the
    cause's class; it says how many were left out since. Two threads that fail at the same moment
    may both log theirs.
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
