"""Gunicorn's settings, which `gunicorn wsgi:app` reads by itself: the environment's, and what goes
before and after.

Without DATABASE_URL the embedded PostgreSQL is started before the workers and stopped after them.
"""

import os
import socket
import subprocess
import sys
from typing import Any, NoReturn

from app.server import shared_metrics

metrics = shared_metrics.share()  # before anything else makes a metric

from app.config import is_loopback  # noqa: E402
from app.database.embedded.errors import CannotStart  # noqa: E402
from app.http import logs  # noqa: E402
from app.server import gunicorn as ours  # noqa: E402
from app.server import lifetime, signals  # noqa: E402

settings = lifetime.settings()
_embedded = lifetime.embedded_postgres()

bind = [
    f"[{settings.host}]:{settings.port}"
    if ":" in settings.host
    else f"{settings.host}:{settings.port}"
]
workers = settings.workers
threads = settings.threads
worker_class = "app.server.worker.ServiceWorker"
loglevel = settings.log_level.lower()
logger_class = ours.ServiceLogger
keepalive = 75  # longer than nginx keeps an idle connection, so that it is nginx who closes
graceful_timeout = settings.drain_seconds + 30  # then a request, and a webhook under way
limit_request_line = 8190
forwarder_headers = ""  # no header may say what the path is
control_socket_disable = True
# Workers show that they are alive by an open file. Another program may clean or fill the folder for
# temporary files.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

logs.configure(settings.log_level)
ours.install_answers()
signals.exit_while_starting()


def on_starting(server: Any) -> None:
    """Start the embedded PostgreSQL where it is the one to use, bring the schema up to date."""
    signals.announce_stop(server)
    for warning in settings.warnings(os.environ):
        server.log.warning(warning)
    if settings.database_url is None:
        try:
            os.environ["DATABASE_URL"] = _embedded.start()
        except (CannotStart, OSError) as error:
            _refuse(f"SCRAPE_JOBS_DATA_DIR: {error}")
        _supervise(server)
    if settings.database_url is None or settings.migrate:
        upgrade = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
        if subprocess.run(upgrade, check=False, close_fds=False).returncode:  # noqa: S603 - fixed words
            _refuse("The database schema could not be brought up to date: see above")


def _supervise(server: Any) -> None:
    """Look after the embedded PostgreSQL in the master's loop, which comes round at least every
    second.

    A thread would do as well, but the master forks workers, and a fork copies locks that other
    threads hold.
    """
    manage_workers = server.manage_workers

    def manage() -> None:
        _embedded.supervise()
        manage_workers()

    server.manage_workers = manage


def _host(listener: socket.socket) -> str | None:
    """Return the address that is listened on; None where it is a Unix socket's path."""
    return (
        str(listener.getsockname()[0])
        if listener.family in (socket.AF_INET, socket.AF_INET6)
        else None
    )


def _refuse(reason: str) -> NoReturn:
    """Do not start, and say why."""
    on_exit(None)
    sys.exit(reason)


def on_reload(server: Any) -> None:
    """Stop instead of reloading where SIGHUP came because the terminal was closed."""
    if signals.terminal_was_closed():
        server.log.info("The terminal was closed: stopping")
        server.handle_term()


def pre_fork(_server: Any, worker: Any) -> None:
    """Choose where the new worker counts."""
    worker.metrics_region = metrics.take()


def post_fork(_server: Any, worker: Any) -> None:
    """Make a worker that has to stop before it handles signals stop at once, and choose where it
    counts."""
    signals.end_with_parent(worker.ppid)
    metrics.enter(worker.metrics_region)


def post_worker_init(worker: Any) -> None:
    """Deliver webhooks and keep house in this worker, too."""
    for runner in _runners(worker):
        runner.start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Finish what is under way."""
    if (
        getattr(worker, "wsgi", None) is not None
    ):  # it may be told to stop before it has loaded that
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
    for (
        listener
    ) in server.LISTENERS:  # whatever made them: a setting, an argument, or who started us
        host = _host(listener.sock)
        if settings.auth == "off" and host is not None and not is_loopback(host):
            _refuse(
                f"{host} is not a loopback address, and with SCRAPE_JOBS_AUTH=off no other is allowed"
            )
    data = "as DATABASE_URL says" if settings.database_url else os.path.abspath(settings.data_dir)
    url = f"http://{server.cfg.bind[0]}"
    locked = settings.auth == "keys"
    authentication = (
        "keys (flask keys create makes one)"
        if locked
        else "off (whoever reaches this address may do all)"
    )
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
    metrics.release(worker.metrics_region)


def on_exit(_server: Any) -> None:
    """Stop what was started."""
    _embedded.stop()
