"""Applications in the tests' own process."""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from app.config import Settings
from app.factory import create_app


def close(app: Flask) -> None:
    """Close the application's connections to the database."""
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


@contextmanager
def application(settings: Settings) -> Iterator[Flask]:
    """Make an application, and close its connections at the end."""
    app = create_app(settings)
    try:
        yield app
    finally:
        close(app)
