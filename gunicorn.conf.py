"""Gunicorn's settings, which `gunicorn wsgi:app` reads by itself: the environment's, and what goes before and after.

Without DATABASE_URL the embedded PostgreSQL is started before the workers and stopped after them.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Any, NoReturn

METRICS = "PROMETHEUS_MULTIPROC_DIR"
OURS = "scrape-jobs-metrics-"
if METRICS not in os.environ:  # before anything imports the client, which decides by it how it counts
    os.environ[METRICS] = tempfile.mkdtemp(prefix=OURS)

from app.config import Settings, SettingsError, is_loopback  # noqa: E402
from app.embedded import DataFolderInUse, EmbeddedPostgres  # noqa: E402
from app.http import gunicorn as ours  # noqa: E402
from app.http import logs  # noqa: E402


def _forget_metrics() -> None:
    """Remove what was counted, where the folder is ours."""
    if os.path.basename(os.environ[METRICS]).startswith(OURS):
        shutil.rmtree(os.environ[METRICS], ignore_errors=True)


try:
    settings = Settings.from_environ(os.environ)
except SettingsError as error:
    _forget_metrics()
    sys.exit("\n".join(error.lines))

bind = [f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"]
workers = settings.workers
threads = settings.threads
worker_class = "app.http.gunicorn.BalancedWorker"
loglevel = settings.log_level.lower()
logger_class = ours.ServiceLogger
keepalive = 75  # longer than nginx keeps an idle connection, so that it is nginx who closes
graceful_timeout = 30  # a request, and then a webhook under way
limit_request_line = 8190
forwarder_headers = ""  # no header may say what the path is
control_socket_disable = True

_embedded = EmbeddedPostgres(settings.data_dir)

logs.configure(settings.log_level)
ours.answer_in_json()


def _leave(_signal: int, _frame: Any) -> None:
    """Stop while still starting, before gunicorn listens to signals, in such a way that what was started stops, too."""
    raise SystemExit(1)


signal.signal(signal.SIGTERM, _leave)
signal.signal(signal.SIGINT, _leave)


def on_starting(server: Any) -> None:
    """Start the embedded PostgreSQL where it is the one to use, bring the schema up to date."""
    for warning in settings.warnings(os.environ):
        server.log.warning(warning)
    if settings.database_url is None:
        try:
            os.environ["DATABASE_URL"] = _embedded.start()
        except (DataFolderInUse, OSError) as error:
            _refuse(f"SCRAPE_JOBS_DATA_DIR: {error}")
    if settings.database_url is None or settings.migrate:
        upgrade = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
        if subprocess.run(upgrade, check=False).returncode:  # noqa: S603 - fixed words
            _refuse("The database schema could not be brought up to date: see above")


def _host(listener: socket.socket) -> str | None:
    """Return the address that is listened on; None where it is a Unix socket's path."""
    return str(listener.getsockname()[0]) if listener.family in (socket.AF_INET, socket.AF_INET6) else None


def _refuse(reason: str) -> NoReturn:
    """Do not start, and say why."""
    on_exit(None)
    sys.exit(reason)


def post_fork(_server: Any, _worker: Any) -> None:
    """Let a worker that is told to stop before it listens to signals stop by them, and not wait to be killed."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    """Deliver webhooks and keep house in this worker, too."""
    for runner in _runners(worker):
        runner.start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Finish what is under way."""
    if getattr(worker, "wsgi", None) is not None:  # it may be told to stop before it has loaded that
        for runner in _runners(worker):
            runner.stop()


def _runners(worker: Any) -> list[Any]:
    wanted = {
        "pulse": True,
        "webhook_dispatcher": settings.webhook_dispatch,
        "housekeeping": settings.housekeeping,
        "note_of_use": settings.auth == "keys",
    }
    return [worker.wsgi.extensions[name] for name, is_wanted in wanted.items() if is_wanted]


def when_ready(server: Any) -> None:
    """Refuse open doors; tell people where it listens, where the data lies, and how to call it."""
    for listener in server.LISTENERS:  # whatever made them: a setting, an argument, or who started us
        host = _host(listener.sock)
        if settings.auth == "off" and host is not None and not is_loopback(host):
            _refuse(f"{host} is not a loopback address, and with SCRAPE_JOBS_AUTH=off no other is allowed")
    data = "as DATABASE_URL says" if settings.database_url else os.path.abspath(settings.data_dir)
    url = f"http://{server.cfg.bind[0]}"
    locked = settings.auth == "keys"
    authentication = "keys (flask keys create makes one)" if locked else "off (whoever reaches this address may do all)"
    key = " -H 'Authorization: Bearer KEY'" if locked else ""
    print(  # noqa: T201 - it is for people
        f"Scrape Job API on {url}\n"
        f"  data:           PostgreSQL, {data}\n"
        f"  authentication: {authentication}\n"
        f"  try:            curl -X POST {url}/api/scrape-jobs{key} -H 'Content-Type: application/json'"
        """ -d '{"domain": "example.com"}'""",
        flush=True,
    )


def child_exit(_server: Any, worker: Any) -> None:
    """Keep what a worker has counted, and forget what it held."""
    from prometheus_client import multiprocess  # not before its folder is known

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: Any) -> None:
    """Stop what was started, and remove what was written."""
    _embedded.stop()
    _forget_metrics()
