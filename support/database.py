"""Temporary databases for tests: created on a server, and dropped at the end."""

import uuid
from collections.abc import Iterator

import psycopg2
from flask_migrate import upgrade
from sqlalchemy.engine import make_url

from app.config import Settings
from app.factory import create_app


def new_database(server_url: str, options: str = "") -> Iterator[str]:
    """Yield the URL of an empty database on the server, and drop it at the end.

    Args:
        server_url: The URL of a database whose role may create others.
        options: The options of CREATE DATABASE.
    """
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
