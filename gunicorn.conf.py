"""Gunicorn's configuration, which `gunicorn wsgi:app` reads: settings and hooks of app.server."""

import gc

gc.disable()  # during the imports, as in wsgi.py

from app.server import shared_metrics  # noqa: E402

shared_metrics.share()  # before another import makes a metric

from app.server.gunicorn_config import configuration, prepare_process  # noqa: E402
from app.server.hooks import (  # noqa: E402, F401
    child_exit,
    on_exit,
    on_reload,
    on_starting,
    post_fork,
    post_worker_init,
    pre_fork,
    when_ready,
    worker_exit,
)
from app.server.settings import server_settings  # noqa: E402

globals().update(configuration(server_settings()))
prepare_process(server_settings())

gc.freeze()
gc.enable()
