"""A primary and its synchronous standby: two PostgreSQL servers, each on its own port."""

import os
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg2

from app.database.embedded.data import prepare
from app.database.embedded.programs import programs_of, wanted_version
from support.postgres import CONFIGURATION, frozen
from support.service import free_port, wait_until


class Server:
    """One PostgreSQL server that runs the programs of the wheel."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        own = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.data.parent}"
        self.call(
            "pg_ctl", "-w", "-D", str(self.data), "-l", str(self.data / "log"), "-o", own, "start"
        )

    def stop(self) -> None:
        self.call("pg_ctl", "-w", "-m", "immediate", "-D", str(self.data), "stop")

    def promote(self) -> None:
        self.call("pg_ctl", "-w", "-D", str(self.data), "promote")

    def call(self, program: str, *arguments: str) -> None:
        """Run a PostgreSQL program as an ordinary user; the programs refuse to run as root."""
        programs = programs_of(int((self.data / "PG_VERSION").read_text()))
        assert programs is not None
        user = "pgserver" if os.geteuid() == 0 else None
        command = [str(programs.folder / program), *arguments]
        subprocess.run(
            command,
            check=True,
            user=user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def frozen(self) -> AbstractContextManager[None]:
        """Freeze the server during the block."""
        return frozen(self.data)


class Pair:
    """A context manager: a primary, and a standby that gets each commit before the client."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.primary = Server(folder / "primary")
        self.standby = Server(folder / "standby")
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        self.url = f"postgresql://postgres@{hosts}/postgres"

    def __enter__(self) -> "Pair":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        prepare(self.primary.data, wanted_version())
        shutil.chown(self._folder, user=self.primary.data.owner())
        settings = self.primary.data / "postgresql.conf"
        synchronous = CONFIGURATION.replace("synchronous_commit = off", "synchronous_commit = on")
        settings.write_text(settings.read_text() + synchronous)
        self.primary.start()
        source = self.primary.url.rpartition("/")[0]
        self.primary.call(
            "pg_basebackup", "-D", str(self.standby.data), "-R", "-c", "fast", "-d", source
        )
        self.standby.start()
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.sql("SELECT pg_reload_conf()")
        in_sync = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until(lambda: self.primary.sql(in_sync), 30)

    def __exit__(self, *_: object) -> None:
        for server in (self.standby, self.primary):
            if (server.data / "postmaster.pid").exists():
                server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
