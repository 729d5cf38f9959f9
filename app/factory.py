"""Puts the application together."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from click import ClickException
from flask import Flask
from flask_migrate import Migrate

from app import cli, database
from app.api_keys.models import ApiKey
from app.api_keys.service import ApiKeyCache
from app.config import Settings
from app.database import connections, schema
from app.database.commands import sql_commands
from app.database.embedded.errors import CannotStart
from app.database.embedded.server import url_for_command
from app.database.failover import Servers
from app.database.row_turns import TURNS
from app.database.tenant_scope import all_customers
from app.events.models import JobEvent
from app.events.signals import status_changed, work_came
from app.http import access, address, body, cors, errors, health, logs, request_id, request_metrics
from app.http import security_headers as response_headers
from app.http.shutdown import is_leaving
from app.jobs import outages
from app.jobs.routes import blueprint as jobs
from app.monitoring import blueprint as monitoring
from app.periodic import PeriodicTask, PeriodicTasks
from app.queue import sweeper
from app.queue.routes import Options as QueueOptions
from app.queue.routes import blueprint as queue
from app.queue.waiting import WaitingRoom
from app.rate_limits import policy as rate_limits
from app.rate_limits.policy import Limits
from app.statistics import service as totals
from app.statistics.models import JobTotals
from app.statistics.routes import blueprint as statistics
from app.targets import Policy
from app.vault import Vault
from app.webhooks.dispatcher import Dispatcher, Options
from app.webhooks.models import WebhookEndpoint
from app.webhooks.routes import blueprint as webhooks
from app.webhooks.service import EndpointOfSettings

TABLES = (ApiKey, JobEvent, WebhookEndpoint, JobTotals)
"""Of modules that nothing else imports, so that the migrations know them."""


def create_app(settings: Settings) -> Flask:
    """Return the application for `settings`."""
    app = Flask("app", static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would be HTML
    app.config["MAX_CONTENT_LENGTH"] = body.MAX_BYTES
    app.config["SQLALCHEMY_DATABASE_URI"] = connections.ENGINE_URL
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = connections.engine_options(
        settings.threads + 2
    )  # the dispatcher's, housekeeping's
    TURNS.places = max(1, settings.threads // 2)
    database.db.init_app(app)
    with app.app_context():
        connections.watch(database.db.engine, Servers(lambda: _database_url(settings)))
    # Relative, for Alembic's configuration takes no % in a path.
    Migrate(app, database.db, directory=os.path.relpath(schema.MIGRATIONS))

    release = schema.release()
    request_metrics.register(app)
    body.register(app)
    request_id.register(app)
    logs.register(app)
    response_headers.register(app)
    errors.register(app)
    keys = ApiKeyCache()
    access.register(app, keys.caller if settings.auth == "keys" else None)
    if settings.rate_limit:
        rate_limits.register(app, _limits(settings), settings.redis_url)
    if settings.cors_origins:
        cors.register(app, settings.cors_origins, settings.cors_headers)
    address.register(app, settings.trusted_proxies)
    health.register(app, lambda: schema.fault(release))
    app.register_blueprint(jobs)

    @contextmanager
    def own_work() -> Iterator[None]:
        with app.app_context(), all_customers():
            yield

    vault, policy = Vault(settings.secrets_keys), Policy.parse(settings.webhook_allow)
    app.register_blueprint(webhooks(policy, vault, settings.webhook_limit))
    room = WaitingRoom(settings.threads // 2, is_leaving)
    work_came.connect(lambda _: room.announce(), weak=False)
    app.register_blueprint(
        queue(QueueOptions(settings.domain_limit, settings.distributed), room, vault)
    )
    app.register_blueprint(statistics)
    app.register_blueprint(monitoring)
    dispatcher = Dispatcher(own_work, _dispatch_options(settings, vault, policy))
    status_changed.connect(lambda _: dispatcher.wake(), weak=False)
    tasks = [
        PeriodicTask("the sweeper", 1.0, sweeper.sweep),
        PeriodicTask("the count of statistics", 2.0, totals.count_some),
    ]
    app.extensions["webhook_dispatcher"] = dispatcher
    app.extensions["housekeeping"] = PeriodicTasks(own_work, tasks)
    app.extensions["pulse"] = PeriodicTasks(
        own_work, [PeriodicTask("the pulse", outages.BEAT_SECONDS, outages.beat)]
    )
    app.extensions["note_of_use"] = PeriodicTasks(
        own_work, [PeriodicTask("the note of the keys' use", 10.0, keys.note_use)]
    )
    cli.register(app, settings)
    app.cli.add_command(sql_commands(lambda: _database_url(settings)))
    return app


def _limits(settings: Settings) -> Limits:
    return Limits(
        reads=settings.rate_limit_reads,
        updates=settings.rate_limit_updates,
        creations=settings.rate_limit_creations,
        job_updates=settings.rate_limit_job,
    )


def _dispatch_options(settings: Settings, vault: Vault, policy: Policy) -> Options:
    secret = settings.webhook_secret or ""
    endpoints = [EndpointOfSettings(url, secret) for url in settings.webhook_urls]
    return Options(vault, policy, endpoints, ca_file=settings.webhook_ca)


def _database_url(settings: Settings) -> str:
    """Return the database's URL; the embedded PostgreSQL is started, or found, for it. Raises
    ClickException."""
    if settings.database_url is not None:
        return settings.database_url
    try:
        return url_for_command(settings.data_dir)
    except (CannotStart, OSError) as error:
        raise ClickException(f"SCRAPE_JOBS_DATA_DIR: {error}") from error
