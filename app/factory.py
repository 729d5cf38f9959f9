"""Composes the application: database, request hooks, endpoints, background runners, commands."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from click import ClickException, Command
from flask import Flask
from flask_migrate import Migrate
from prometheus_client import REGISTRY

from app import database
from app.api_keys import commands as key_commands
from app.api_keys.models import ApiKey
from app.api_keys.service import ApiKeyCache
from app.config import Settings
from app.database import connections, schema
from app.database.commands import sql_commands
from app.database.embedded.errors import CannotStart
from app.database.embedded.server import url_for_command
from app.database.failover import Servers
from app.database.row_limiter import ROW_LIMITER
from app.database.tenant_scope import all_customers
from app.events import commands as audit_commands
from app.events.models import JobEvent
from app.events.signals import status_changed, work_available
from app.http import body, health, lifecycle, metrics
from app.http.concurrency import LimitedConcurrency
from app.http.cors import CorsPolicy
from app.http.service_flask import ServiceFlask
from app.http.shutdown import worker_is_stopping
from app.idempotency import keys as idempotency_keys
from app.jobs import outages
from app.jobs import routes as jobs
from app.jobs.bulk_routes import blueprint as bulk
from app.jobs.commands import FurtherRows
from app.jobs.commands import commands as job_commands
from app.live import routes as live
from app.live.slots import StreamSlots
from app.monitor import routes as monitor
from app.monitor.sessions import Sessions
from app.openapi import routes as openapi
from app.openapi.commands import write_document
from app.periodic import DatabaseContext, PeriodicTask, PeriodicTasks
from app.queue import commands as queue_commands
from app.queue import routes as queue
from app.queue import sweeper
from app.queue.metrics import queue_metrics
from app.rate_limits.policy import RateLimiter, RateLimits
from app.server import commands as server_commands
from app.server import shared_metrics
from app.statistics import commands as statistics_commands
from app.statistics import service as totals
from app.statistics.metrics import job_metrics
from app.statistics.models import JobTotals
from app.statistics.routes import blueprint as statistics
from app.waiting import WaitingRequests
from app.webhooks import commands as webhook_commands
from app.webhooks import retention as webhook_retention
from app.webhooks import routes as webhooks
from app.webhooks import settings as webhook_settings
from app.webhooks.dispatcher import Dispatcher
from app.webhooks.metrics import webhook_metrics
from app.webhooks.models import WebhookEndpoint
from app.webhooks.settings import WebhookSettings

TABLES = (ApiKey, JobEvent, WebhookEndpoint, JobTotals)
"""Models that no other module imports; the migrations need all models to be imported."""


def create_app(settings: Settings) -> Flask:
    """Return the application for `settings`.

    Raises:
        InvalidWebhookSettings: A webhook setting is invalid.
    """
    app = ServiceFlask("app", static_folder=None)
    app.url_map.merge_slashes = False  # Flask would redirect, with an HTML page
    app.config["MAX_CONTENT_LENGTH"] = body.MAX_BYTES
    app.wsgi_app = LimitedConcurrency(app.wsgi_app, settings.threads)  # type: ignore[method-assign]
    webhook = webhook_settings.build(settings)
    keys = ApiKeyCache()
    _connect_database(app, settings)
    sessions = Sessions(settings.secrets_keys, keys.caller_with_id, monitor.NAME)
    _register_request_hooks(app, settings, keys, sessions)
    _register_endpoints(app, settings, webhook)
    monitor.register(app, sessions, keys.caller if settings.auth == "keys" else None)
    _create_background_runners(app, webhook, keys)
    app.extensions["settings"] = settings
    for command in _commands(settings):
        app.cli.add_command(command)
    return app


def _connect_database(app: Flask, settings: Settings) -> None:
    # Three more than requests: for the webhook dispatcher, periodic tasks, and event streams.
    options = connections.engine_options(settings.threads + 3)
    app.config["SQLALCHEMY_DATABASE_URI"] = connections.ENGINE_URL
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    ROW_LIMITER.places = max(1, settings.threads // 2)
    database.db.init_app(app)
    with app.app_context():
        connections.watch(database.db.engine, Servers(lambda: _database_url(settings)))
    # A relative path, because Alembic's configuration does not allow % in a path.
    Migrate(app, database.db, directory=os.path.relpath(schema.MIGRATIONS))


def _database_url(settings: Settings) -> str:
    """Return the database's URL; start the embedded PostgreSQL for it unless it runs already.

    Raises:
        ClickException: The embedded PostgreSQL cannot be started.
    """
    if settings.database_url is not None:
        return settings.database_url
    try:
        return url_for_command(settings.data_dir)
    except (CannotStart, OSError) as error:
        raise ClickException(f"SCRAPE_JOBS_DATA_DIR: {error}") from error


def _register_request_hooks(
    app: Flask, settings: Settings, keys: ApiKeyCache, sessions: Sessions
) -> None:
    lifecycle.register(
        app,
        find_caller=keys.caller if settings.auth == "keys" else None,
        find_session=sessions.find,
        rate_limiter=_rate_limiter(settings) if settings.rate_limit else None,
        cors_policy=_cors_policy(settings) if settings.cors_origins else None,
        trusted_proxies=settings.trusted_proxies,
    )


def _rate_limiter(settings: Settings) -> RateLimiter:
    limits = RateLimits(
        reads=settings.rate_limit_reads,
        updates=settings.rate_limit_updates,
        creations=settings.rate_limit_creations,
        job_updates=settings.rate_limit_job,
    )
    return RateLimiter(limits, settings.redis_url)


def _cors_policy(settings: Settings) -> CorsPolicy:
    return CorsPolicy(settings.cors_origins, settings.cors_headers)


def _register_endpoints(app: Flask, settings: Settings, webhook: WebhookSettings) -> None:
    release = schema.release()
    waiting = WaitingRequests(settings.threads // 2, worker_is_stopping)
    work_available.connect(lambda _: waiting.notify(), weak=False)
    queue_settings = queue.QueueSettings(settings.domain_limit, settings.distributed)
    health.register(app, lambda: schema.fault(release))
    jobs.register(app, waiting)
    app.register_blueprint(bulk)
    webhooks.register(app, webhook)
    queue.register(app, queue_settings, waiting, webhook.vault)
    live.register(app, StreamSlots(settings.streams), _background(app), worker_is_stopping)
    app.register_blueprint(statistics)
    metrics.register(
        app,
        lambda: shared_metrics.shared() or REGISTRY,
        [job_metrics, queue_metrics, webhook_metrics],
    )
    openapi.register(app)


def _background(app: Flask) -> DatabaseContext:
    """Return the context of threads that work for the service itself."""

    @contextmanager
    def context() -> Iterator[None]:
        with app.app_context(), all_customers():
            yield

    return context


def _create_background_runners(app: Flask, webhook: WebhookSettings, keys: ApiKeyCache) -> None:
    """Create the background runners, which `app.server.hooks` starts in each worker."""
    context = _background(app)

    def periodic(*tasks: PeriodicTask) -> PeriodicTasks:
        return PeriodicTasks(context, tasks)

    dispatcher = Dispatcher(context, webhook.dispatcher_options)
    status_changed.connect(lambda _: dispatcher.wake(), weak=False)
    app.extensions["webhook_dispatcher"] = dispatcher
    app.extensions["housekeeping"] = periodic(
        PeriodicTask("sweeper", 1.0, sweeper.sweep),
        PeriodicTask("statistics count", 2.0, totals.count_round),
    )
    app.extensions["outage_recorder"] = periodic(
        PeriodicTask("outage recorder", outages.DETECTION_SECONDS, outages.detect_outage)
    )
    app.extensions["key_use_recorder"] = periodic(
        PeriodicTask("API key usage", 10.0, keys.record_use)
    )


def _commands(settings: Settings) -> list[Command]:
    """Return the commands of all packages."""
    further_rows = FurtherRows(
        prune_unsendable=webhook_retention.prune_unsendable,
        prune_jobless=webhook_retention.prune_jobless,
        prune_keys=idempotency_keys.prune_keys,
    )
    return [
        audit_commands.group,
        job_commands(further_rows),
        key_commands.group,
        write_document,
        queue_commands.group,
        sql_commands(lambda: _database_url(settings)),
        server_commands.housekeeping,
        server_commands.settings,
        statistics_commands.group,
        webhook_commands.group,
    ]
