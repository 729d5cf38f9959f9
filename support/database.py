"""Databases of the tests: made on a server, with the schema or empty, and dropped in the end."""

import uuid
from collections.abc import Iterator

import psycopg2
from flask_migrate import upgrade
from sqlalchemy.engine import make_url

from app.config import Settings
from app.factory import create_app


def new_database(server_url: str, options: str = "") -> Iterator[str]:
    """Make an empty database on the server, with the options of CREATE DATABASE, and drop it in the
    end."""
    name = f"test_{uuid.uuid4().hex}"
    connection = psycopg2.connect(server_url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} {options}")
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        connection.close()


def migrate(url: str) -> None:
    """Bring the schema of the database up to date."""
    app = create_app(Settings(auth="off", rate_limit=False, database_url=url))
    with app.app_context():
        upgrade()
        app.extensions["sqlalchemy"].engine.dispose()
