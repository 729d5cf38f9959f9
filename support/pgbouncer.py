"""A PgBouncer in transaction mode that ignores the parameter `options`, as operators run it."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psycopg2
from sqlalchemy.engine import make_url

from support.service import free_port, wait_until

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
ignore_startup_parameters = options
logfile = {folder}/log
"""


class PgBouncer:
    """A context manager; `url` leads to the database through PgBouncer."""

    def __init__(self, database_url: str, size: int) -> None:
        server = make_url(database_url)
        self._port = free_port()
        host = server.query.get("host", server.host)
        self._server = {
            "host": host,
            "port": server.port or 5432,
            "user": server.username,
            "size": size,
        }
        self.url = f"postgresql://{server.username}@127.0.0.1:{self._port}/{server.database}"

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="sj-"))
        configuration = self._folder / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(**self._server, own_port=self._port, folder=self._folder)
        )
        user = "pgserver" if os.geteuid() == 0 else None  # it refuses to run as root
        if user:
            shutil.chown(self._folder, user)
        self._process = subprocess.Popen(
            ["pgbouncer", "-q", str(configuration)], user=user, cwd="/"
        )
        try:
            wait_until(self._answers)
        except BaseException:
            self.close()
            raise
        return self

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self.url).close()
        except psycopg2.OperationalError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        shutil.rmtree(self._folder, ignore_errors=True)
