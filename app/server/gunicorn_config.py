"""Gunicorn's settings, derived from the service's settings."""

import os
from typing import Any

from app.config import Settings
from app.http import logs
from app.server import gunicorn_output, signals

KEEP_ALIVE_SECONDS = 75
"""Longer than nginx keeps an idle connection, so that nginx closes it and no request is lost."""

REQUEST_SECONDS = 30
"""Time that requests and a webhook delivery have to end after the server has drained."""

MAX_REQUEST_LINE = 8190


def configuration(settings: Settings) -> dict[str, Any]:
    """Return the values of gunicorn's settings by name."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "bind": [f"{host}:{settings.port}"],
        "workers": settings.workers,
        "threads": settings.server_threads,
        "worker_connections": 1000 + settings.streams,
        "worker_class": "app.server.worker.ServiceWorker",
        "loglevel": settings.log_level.lower(),
        "logger_class": gunicorn_output.ServiceLogger,
        "keepalive": KEEP_ALIVE_SECONDS,
        "graceful_timeout": settings.drain_seconds + REQUEST_SECONDS,
        "limit_request_line": MAX_REQUEST_LINE,
        "forwarder_headers": "",  # no header may change the path of a request
        "control_socket_disable": True,
        # Each worker touches an open file to show that it is alive. In the usual folder for
        # temporary files, another program may remove it, or fill the disk.
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # noqa: S108
    }


def prepare_process(settings: Settings) -> None:
    """Configure the logs, the error responses and the signals of this process."""
    logs.configure(settings.log_level)
    gunicorn_output.install_responses()
    signals.exit_while_starting()
