"""Composes the application: database, request hooks, endpoints, background runners, commands."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from click import ClickException, Command
from flask import Flask
from flask_migrate import Migrate

from app import database, leftovers
from app.api_keys import commands as key_commands
from app.api_keys.models import ApiKey
from app.api_keys.service import ApiKeyCache
from app.config import Settings
from app.database import connections, schema
from app.database.embedded.errors import CannotStart
from app.database.embedded.server import url_for_command
from app.database.failover import Servers
from app.database.row_turns import TURNS
from app.database.tenant_scope import all_customers
from app.events import commands as audit_commands
from app.events.models import JobEvent
from app.events.signals import status_changed, work_came
from app.http import access, address, body, cors, errors, health, logs, request_id, request_metrics
from app.http import security_headers as response_headers
from app.http.shutdown import is_leaving
from app.jobs import outages
from app.jobs.commands import FurtherRows
from app.jobs.commands import commands as job_commands
from app.jobs.routes import blueprint as jobs
from app.monitoring import blueprint as monitoring
from app.periodic import PeriodicTask, PeriodicTasks
from app.queue import commands as queue_commands
from app.queue import sweeper
from app.queue.routes import Options as QueueOptions
from app.queue.routes import blueprint as queue
from app.queue.waiting import WaitingRoom
from app.rate_limits import policy as rate_limits
from app.rate_limits.policy import Limits
from app.server import commands as server_commands
from app.statistics import commands as statistics_commands
from app.statistics import service as totals
from app.statistics.models import JobTotals
from app.statistics.routes import blueprint as statistics
from app.webhooks import commands as webhook_commands
from app.webhooks import settings as webhook_settings
from app.webhooks.dispatcher import Dispatcher
from app.webhooks.dispatcher import Options as DispatcherOptions
from app.webhooks.models import WebhookEndpoint
from app.webhooks.routes import blueprint as webhooks
from app.webhooks.settings import WebhookSettings

TABLES = (ApiKey, JobEvent, WebhookEndpoint, JobTotals)
"""Models that no other module imports; the migrations need all models to be imported."""


def create_app(settings: Settings) -> Flask:
    """Return the application for `settings`.

    Raises:
        InvalidWebhookSettings: A webhook setting is invalid.
    """
    app = Flask("app", static_folder=None)
    app.url_map.merge_slashes = False  # Flask would redirect, with an HTML page
    app.config["MAX_CONTENT_LENGTH"] = body.MAX_BYTES
    webhook = webhook_settings.build(settings)
    keys = ApiKeyCache()
    _connect_database(app, settings)
    _register_request_hooks(app, settings, keys)
    _register_endpoints(app, settings, webhook)
    _create_background_runners(app, webhook, keys)
    app.extensions["settings"] = settings
    for command in _commands():
        app.cli.add_command(command)
    return app


def _connect_database(app: Flask, settings: Settings) -> None:
    # Two more connections than threads: for the webhook dispatcher and for periodic tasks.
    options = connections.engine_options(settings.threads + 2)
    app.config["SQLALCHEMY_DATABASE_URI"] = connections.ENGINE_URL
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    TURNS.places = max(1, settings.threads // 2)
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


def _register_request_hooks(app: Flask, settings: Settings, keys: ApiKeyCache) -> None:
    """Register the hooks of every request. Their order is part of the security model.

    Before the view: start the clocks of metrics and log; authenticate the request, check its
    scope and set its tenant scope; then count it for the rate limit. A request that is not
    authenticated is therefore rejected before it counts, and before its body is read.

    After the view, in reverse order: CORS and rate-limit headers; security headers; one log line;
    the request id; then the rest of the body is read or the connection closed; metrics come last.
    """
    request_metrics.register(app)
    body.register(app)
    request_id.register(app)
    logs.register(app)
    response_headers.register(app)
    errors.register(app)
    access.register(app, keys.caller if settings.auth == "keys" else None)
    if settings.rate_limit:
        rate_limits.register(app, _limits(settings), settings.redis_url)
    if settings.cors_origins:
        cors.register(app, settings.cors_origins, settings.cors_headers)
    address.register(app, settings.trusted_proxies)


def _limits(settings: Settings) -> Limits:
    return Limits(
        reads=settings.rate_limit_reads,
        updates=settings.rate_limit_updates,
        creations=settings.rate_limit_creations,
        job_updates=settings.rate_limit_job,
    )


def _register_endpoints(app: Flask, settings: Settings, webhook: WebhookSettings) -> None:
    release = schema.release()
    waiting_room = WaitingRoom(settings.threads // 2, is_leaving)
    work_came.connect(lambda _: waiting_room.announce(), weak=False)
    queue_options = QueueOptions(settings.domain_limit, settings.distributed)
    health.register(app, lambda: schema.fault(release))
    app.register_blueprint(jobs)
    app.register_blueprint(webhooks(webhook.policy, webhook.vault, webhook.limit))
    app.register_blueprint(queue(queue_options, waiting_room, webhook.vault))
    app.register_blueprint(statistics)
    app.register_blueprint(monitoring)


def _create_background_runners(app: Flask, webhook: WebhookSettings, keys: ApiKeyCache) -> None:
    """Create the background runners, which `app.server.hooks` starts in each worker."""

    @contextmanager
    def context() -> Iterator[None]:
        with app.app_context(), all_customers():
            yield

    def periodic(*tasks: PeriodicTask) -> PeriodicTasks:
        return PeriodicTasks(context, tasks)

    dispatcher = Dispatcher(
        context,
        DispatcherOptions(
            webhook.vault, webhook.policy, webhook.endpoints, ca_file=webhook.ca_file
        ),
    )
    status_changed.connect(lambda _: dispatcher.wake(), weak=False)
    app.extensions["webhook_dispatcher"] = dispatcher
    app.extensions["housekeeping"] = periodic(
        PeriodicTask("the sweeper", 1.0, sweeper.sweep),
        PeriodicTask("the count of statistics", 2.0, totals.count_some),
    )
    app.extensions["outage_recorder"] = periodic(
        PeriodicTask("the record of outages", outages.BEAT_SECONDS, outages.beat)
    )
    app.extensions["key_use_recorder"] = periodic(
        PeriodicTask("the record of key use", 10.0, keys.note_use)
    )


def _commands() -> list[Command]:
    """Return the commands of all packages."""
    further_rows = FurtherRows(
        prune_unsendable=leftovers.prune_unsendable,
        prune_jobless=leftovers.prune_jobless,
        prune_keys=leftovers.prune_keys,
    )
    return [
        audit_commands.group,
        job_commands(further_rows),
        key_commands.group,
        queue_commands.group,
        server_commands.housekeeping,
        server_commands.settings,
        statistics_commands.group,
        webhook_commands.group,
    ]
