"""Gunicorn's hooks, which it calls at the start and end of the master and of each worker.

They are the same for both servers: gunicorn's master also supervises workers that serve by Granian.
Without DATABASE_URL the embedded PostgreSQL is started before the workers and stopped after them.
"""

import os
import subprocess
import sys
from typing import Any, NoReturn

from app.cli import BackgroundRunner
from app.config import NOT_LOOPBACK, is_loopback
from app.database.embedded.errors import CannotStart
from app.server import listeners, shared_metrics, signals
from app.server.settings import embedded_postgres, server_settings


def on_starting(server: Any) -> None:
    """Start the embedded PostgreSQL if it is to be used, and run the migrations."""
    settings = server_settings()
    signals.announce_stop(server)
    for warning in settings.warnings(os.environ):
        server.log.warning(warning)
    if settings.server == "granian":
        signals.fix_workers(server)
    if settings.database_url is None:
        try:
            os.environ["DATABASE_URL"] = embedded_postgres().start()
        except (CannotStart, OSError) as error:
            _refuse(f"SCRAPE_JOBS_DATA_DIR: {error}")
        _supervise(server)
    if settings.database_url is None or settings.migrate:
        _migrate()


def _migrate() -> None:
    upgrade = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
    if subprocess.run(upgrade, check=False, close_fds=False).returncode:  # noqa: S603 - constants
        _refuse("The database schema could not be brought up to date: see above")


def _supervise(server: Any) -> None:
    """Restart the embedded PostgreSQL when it dies, from the master's loop.

    The loop runs at least every second. A thread would do as well, but the master forks workers,
    and a fork copies locks that other threads hold.
    """
    manage_workers = server.manage_workers

    def manage() -> None:
        embedded_postgres().supervise()
        manage_workers()

    server.manage_workers = manage


def _refuse(reason: str) -> NoReturn:
    """Exit with `reason` instead of starting."""
    on_exit(None)
    sys.exit(reason)


def when_ready(server: Any) -> None:
    """Check the addresses that are listened on, and print how to call the service.

    Listeners may come from a setting, a command-line argument or systemd.
    """
    settings = server_settings()
    sockets = [listener.sock for listener in server.LISTENERS]
    for host in filter(None, map(listeners.host_of, sockets)):
        if settings.auth == "off" and not is_loopback(host):
            _refuse(NOT_LOOPBACK.format(host))
    if settings.server == "granian" and len(sockets) == 1:
        _give_each_worker_a_listener(server)
    print(_banner(f"http://{server.cfg.bind[0]}"), flush=True)  # noqa: T201


def _give_each_worker_a_listener(server: Any) -> None:
    """Make as many listeners as workers.

    If the workers shared one, the first to wake would take all connections of a burst (in 12 of 20
    bursts of eight), and the others would idle for as long as clients keep them. The master keeps
    all listeners, so connections wait while a worker is replaced.
    """
    (first,) = server.LISTENERS
    for other in listeners.divide(first.sock, server.num_workers, server.cfg.backlog):
        address = other.getsockname()
        server.LISTENERS.append(type(first)(address, server.cfg, server.log, other.detach()))
    listeners.notice_lost_clients(listener.sock for listener in server.LISTENERS)


def _banner(url: str) -> str:
    settings = server_settings()
    data = "at DATABASE_URL" if settings.database_url else os.path.abspath(settings.data_dir)
    if settings.auth == "keys":
        authentication = "keys (create one with flask keys create)"
        key = " -H 'Authorization: Bearer KEY'"
    else:
        authentication = "off (anyone who can reach this address has full access)"
        key = ""
    return (
        f"Scrape Job API on {url}\n"
        f"  data:           PostgreSQL, {data}\n"
        f"  authentication: {authentication}\n"
        f"  monitor:        {url} in a browser\n"
        f"  try:            curl -X POST {url}/api/scrape-jobs{key}"
        """ -H 'Content-Type: application/json' -d '{"domain": "example.com"}'"""
    )


def on_reload(server: Any) -> None:
    """Stop instead of reloading if SIGHUP means that the terminal was closed."""
    if signals.terminal_was_closed():
        server.log.info("The terminal was closed: stopping")
        server.handle_term()


def pre_fork(server: Any, worker: Any) -> None:
    """Take a region of the shared metrics, and a listener, for the new worker."""
    worker.metrics_region = shared_metrics.share().take()
    served = [other.listener for other in server.WORKERS.values()]
    worker.listener = listeners.least_served(len(server.LISTENERS), served)


def post_fork(_server: Any, worker: Any) -> None:
    """Make the worker end with its master, and count in its region of the shared metrics.

    Until the worker has handlers of its own, a signal that stops it ends it at once.
    """
    signals.end_with_parent(worker.ppid)
    shared_metrics.share().enter(worker.metrics_region)


def post_worker_init(worker: Any) -> None:
    """Start the worker's background runners: webhook delivery and periodic tasks."""
    for runner in _background_runners(worker):
        runner.start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Stop the background runners; they finish their current task first.

    A worker that is stopped before it has loaded the application has none.
    """
    if getattr(worker, "wsgi", None) is not None:
        for runner in _background_runners(worker):
            runner.stop()


def _background_runners(worker: Any) -> list[BackgroundRunner]:
    settings = server_settings()
    is_enabled = {
        "outage_recorder": True,
        "webhook_dispatcher": settings.webhook_dispatch,
        "housekeeping": settings.housekeeping,
        "key_use_recorder": settings.auth == "keys",
    }
    return [worker.wsgi.extensions[name] for name, enabled in is_enabled.items() if enabled]


def child_exit(_server: Any, worker: Any) -> None:
    """Return the worker's region of the shared metrics; its counters stay."""
    shared_metrics.share().release(worker.metrics_region)


def on_exit(_server: Any) -> None:
    """Stop the embedded PostgreSQL if this server has started it."""
    embedded_postgres().stop()
