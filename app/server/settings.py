"""The settings of the server and its embedded PostgreSQL.

Gunicorn executes its configuration file again at each reload (SIGHUP). `server_settings` and
`embedded_postgres` return the same objects then.
"""

import functools
import os
import sys
from collections.abc import Mapping

from app.config import Settings, SettingsError
from app.database.embedded import server
from app.webhooks.settings import find_faults


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings in `environ`, all of them checked.

    Raises:
        SettingsError: Some values are invalid; it names all of them.
    """
    return Settings.from_environ(environ, find_faults)


@functools.cache
def server_settings() -> Settings:
    """Return the settings as they were at the start; exit with one line per invalid value."""
    try:
        return read_settings(os.environ)
    except SettingsError as error:
        sys.exit("\n".join(error.lines))


def embedded_postgres() -> server.EmbeddedPostgres:
    """Return the embedded PostgreSQL of this server, started or not."""
    return server.embedded_postgres(server_settings().data_dir)
