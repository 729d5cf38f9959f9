"""The database roles of deploy/roles.sql, in a database of their own with a login for each.

The two group roles belong to the whole server and stay there. The database and the logins are
temporary. Owner and logins are no superusers, which have all rights.
"""

import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from click.testing import Result
from flask import Flask
from sqlalchemy.engine import make_url

from app.api_keys.scopes import Scope
from app.config import Settings
from app.database.psql import find_psql
from app.factory import create_app
from support.database import migrate, new_database
from support.service import ROOT

ROLES = ROOT / "deploy" / "roles.sql"
SERVICE, RETENTION = "scrape_jobs_service", "scrape_jobs_retention"


class RoleDatabase:
    """A database and three logins: its owner, the service and the retention command.

    The first argument of the methods is the login: "owner", "service" or "retention".
    """

    def __init__(self, url: str, names: Mapping[str, str]) -> None:
        self.names = names
        self.urls = {
            login: make_url(url)
            .set(username=name, password="secret")
            .render_as_string(hide_password=False)
            for login, name in names.items()
        }

    def sql(self, login: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.urls[login])) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

    @contextmanager
    def app(self, login: str) -> Iterator[Flask]:
        """Yield the application with that login."""
        app = create_app(Settings(database_url=self.urls[login], rate_limit=False))
        try:
            yield app
        finally:
            with app.app_context():
                app.extensions["sqlalchemy"].engine.dispose()

    def flask(self, login: str, *arguments: str) -> Result:
        """Run a flask command with that login."""
        with self.app(login) as app:
            return app.test_cli_runner().invoke(args=arguments)

    def key(self, *scopes: Scope) -> str:
        """Create an API key as the owner, and return it."""
        options = [word for scope in scopes for word in ("--scope", scope.value)]
        made = self.flask("owner", "keys", "create", "a name", *options)
        assert made.exit_code == 0, made.output
        return str(made.stdout.strip())


def run_file(url: str, file: Path) -> None:
    """Run an SQL file with psql, as operators do."""
    command = [find_psql(), url, "--no-psqlrc", "--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


def new_role_database(server_url: str) -> Iterator[RoleDatabase]:
    """Yield a migrated database with the roles, and drop it at the end."""
    names = {
        login: f"test_{login}_{uuid.uuid4().hex[:12]}"
        for login in ("owner", "service", "retention")
    }
    with closing(psycopg2.connect(server_url)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        for login, name in names.items():
            cursor.execute(
                f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {'CREATEROLE' * (login == 'owner')}"
            )
        for url in new_database(server_url):
            cursor.execute(f"ALTER DATABASE {make_url(url).database} OWNER TO {names['owner']}")
            roles = RoleDatabase(url, names)
            migrate(roles.urls["owner"])
            run_file(roles.urls["owner"], ROLES)
            cursor.execute(f"GRANT {SERVICE} TO {names['service']}")
            cursor.execute(f"GRANT {RETENTION} TO {names['retention']}")
            yield roles
        for name in names.values():
            cursor.execute(f"DROP ROLE {name}")
