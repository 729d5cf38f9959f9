"""Tells whether the process lives, and whether it can do its work."""

from collections.abc import Callable

from flask import Blueprint, Flask, Response

from app.errors import DatabaseFailure, NotReady
from app.http.operation import operation
from app.http.response import success
from app.http.shutdown import is_stopping


def register(app: Flask, database_fault: Callable[[], str | None]) -> None:
    """Give `app` its two health endpoints.

    `database_fault` asks the database and returns why the service cannot work on it, or None;
    raises DatabaseFailure.
    """
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    @operation("Failed to tell the health", is_open=True)
    def healthz() -> Response:
        """Tell that the process lives; asks nobody."""
        return success('{"status":"ok"}')

    @blueprint.get("/readyz")
    @operation("Failed to tell the readiness", is_open=True)
    def readyz() -> Response:
        """Check that the database answers and takes writes, its schema is this release's, and the
        server goes on."""
        if is_stopping():
            raise NotReady("The server is stopping")
        try:
            fault = database_fault()
        except DatabaseFailure as error:
            raise NotReady(error.details) from error
        if fault:
            raise NotReady(fault)
        return success('{"status":"ready"}')

    app.register_blueprint(blueprint)
