"""Health endpoints: liveness of the process, and readiness to serve requests."""

from collections.abc import Callable

from flask import Blueprint, Flask, Response
from marshmallow import fields

from app.errors import DatabaseFailure, DatabaseUnavailable, NotReady
from app.http.documentation import AnswerSchema, Success, documented
from app.http.operation import operation
from app.http.response import success
from app.http.shutdown import server_is_stopping


class HealthAnswer(AnswerSchema):
    """The state of the process, or of the service."""

    title = "Health"

    status = fields.String()


def register(app: Flask, database_fault: Callable[[], str | None]) -> None:
    """Add the health endpoints to `app`.

    Args:
        app: The application.
        database_fault: Returns the reason why the database cannot be used, or None. Raises
            DatabaseFailure if the database does not answer.
    """
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    @operation("Failed to check the health", is_open=True)
    @documented(Success(HealthAnswer(), changes={"status": "ok"}))
    def healthz() -> Response:
        """Answer that the process lives, without a look at anything else."""
        return success('{"status":"ok"}')

    @blueprint.get("/readyz")
    @operation("Failed to check the readiness", is_open=True)
    @documented(
        Success(HealthAnswer(), changes={"status": "ready"}),
        raises=(NotReady(DatabaseUnavailable.details),),
    )
    def readyz() -> Response:
        """Answer whether the server stays up and the database is writable, with this schema."""
        if server_is_stopping():
            raise NotReady("The server is stopping")
        try:
            fault = database_fault()
        except DatabaseFailure as error:
            raise NotReady(error.details) from error
        if fault:
            raise NotReady(fault)
        return success('{"status":"ready"}')

    app.register_blueprint(blueprint)
