"""The facts of log records, as the formatters show them."""

import logging
from collections.abc import Mapping
from typing import Any


def facts_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return the values that a record has beside its message."""
    facts: Mapping[str, Any] | None = getattr(record, "facts", None)
    return vars(record) if facts is None else facts
