"""An interactive psql on the service's database."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence

from psycopg2.extensions import make_dsn

from app.database.database_url import libpq_parameters
from app.database.embedded.programs import programs_of, wanted_version


class PsqlNotFound(Exception):
    """There is no psql, neither on PATH nor beside the embedded PostgreSQL."""


def run_psql(url: str, arguments: Sequence[str]) -> int:
    """Run psql on the database at `url` until it ends, and return its exit code.

    The psql on PATH is preferred, because it knows the user's terminal; otherwise the one of the
    embedded PostgreSQL runs. The password is passed in the environment, so that it does not appear
    in the list of processes. Ctrl-C is for psql: it cancels a query and must not end this process,
    which may own the embedded server.

    Raises:
        PsqlNotFound: if there is no psql.
    """
    parameters = libpq_parameters(url)
    password = parameters.pop("password", None)
    environment = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = subprocess.run(  # noqa: S603 - psql, with the operator's own arguments
            [find_psql(), make_dsn(**parameters), *arguments],
            env=environment,
            close_fds=False,  # the URL of the embedded server may name an inherited handle
            check=False,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    return done.returncode


def find_psql() -> str:
    """Return the path of psql.

    Raises:
        PsqlNotFound: if there is none.
    """
    found = shutil.which("psql")
    if found is not None:
        return found
    programs = programs_of(wanted_version())
    if programs is None or not (programs.folder / "psql").exists():
        raise PsqlNotFound("psql is not installed: install PostgreSQL's client programs")
    return str(programs.folder / "psql")
