"""Puts the application together."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from click import ClickException
from flask import Flask
from flask_migrate import Migrate
from prometheus_client import REGISTRY

from app import cli, database
from app.api_keys.models import ApiKey
from app.api_keys.service import ApiKeyCache
from app.config import Settings
from app.database import connections, schema
from app.database.embedded.errors import CannotStart
from app.database.embedded.server import url_for_command
from app.database.failover import Servers
from app.database.row_turns import TURNS
from app.database.tenant_scope import all_customers
from app.events.models import JobEvent
from app.events.signals import status_changed, work_came
from app.http import body, health, lifecycle, metrics
from app.http.cors import CorsPolicy
from app.http.shutdown import worker_is_stopping
from app.jobs import outages
from app.jobs.routes import blueprint as jobs
from app.periodic import PeriodicTask, PeriodicTasks
from app.queue import routes as queue
from app.queue import sweeper
from app.queue.metrics import queue_metrics
from app.queue.waiting import WaitingRequests
from app.rate_limits.policy import RateLimiter, RateLimits
from app.server import shared_metrics
from app.statistics import service as totals
from app.statistics.metrics import job_metrics
from app.statistics.models import JobTotals
from app.statistics.routes import blueprint as statistics
from app.targets import Policy
from app.vault import Vault
from app.webhooks.dispatcher import Dispatcher, Options
from app.webhooks.metrics import webhook_metrics
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
    keys = ApiKeyCache()
    lifecycle.register(
        app,
        find_caller=keys.caller if settings.auth == "keys" else None,
        rate_limiter=_rate_limiter(settings) if settings.rate_limit else None,
        cors_policy=_cors_policy(settings) if settings.cors_origins else None,
        trusted_proxies=settings.trusted_proxies,
    )
    health.register(app, lambda: schema.fault(release))
    app.register_blueprint(jobs)

    @contextmanager
    def own_work() -> Iterator[None]:
        with app.app_context(), all_customers():
            yield

    vault, policy = Vault(settings.secrets_keys), Policy.parse(settings.webhook_allow)
    app.register_blueprint(webhooks(policy, vault, settings.webhook_limit))
    waiting = WaitingRequests(settings.threads // 2, worker_is_stopping)
    work_came.connect(lambda _: waiting.notify(), weak=False)
    queue.register(
        app, queue.QueueSettings(settings.domain_limit, settings.distributed), waiting, vault
    )
    app.register_blueprint(statistics)
    metrics.register(
        app,
        lambda: shared_metrics.shared() or REGISTRY,
        [job_metrics, queue_metrics, webhook_metrics],
    )
    dispatcher = Dispatcher(own_work, _dispatch_options(settings, vault, policy))
    status_changed.connect(lambda _: dispatcher.wake(), weak=False)
    tasks = [
        PeriodicTask("sweeper", 1.0, sweeper.sweep),
        PeriodicTask("statistics count", 2.0, totals.count_round),
    ]
    app.extensions["webhook_dispatcher"] = dispatcher
    app.extensions["housekeeping"] = PeriodicTasks(own_work, tasks)
    app.extensions["pulse"] = PeriodicTasks(
        own_work, [PeriodicTask("pulse", outages.BEAT_SECONDS, outages.beat)]
    )
    app.extensions["note_of_use"] = PeriodicTasks(
        own_work, [PeriodicTask("API key usage", 10.0, keys.note_use)]
    )
    cli.register(app, settings)
    return app


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
