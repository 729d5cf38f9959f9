"""Objects that live as long as the server: gunicorn executes its configuration file again at each
reload (SIGHUP)."""

import functools
import os
import sys

from app.config import Settings, SettingsError
from app.database.embedded import server


@functools.cache
def settings() -> Settings:
    """Return the settings of the environment as they were at the start; exit with one line for each
    wrong value."""
    try:
        return Settings.from_environ(os.environ)
    except SettingsError as error:
        sys.exit("\n".join(error.lines))


def embedded_postgres() -> server.EmbeddedPostgres:
    """Return the embedded PostgreSQL of this server, started or not."""
    return server.embedded_postgres(settings().data_dir)
