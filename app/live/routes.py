"""The event streams."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request

from app.api_keys.scopes import Scope
from app.database import tenant_scope
from app.errors import ProcessStopping
from app.http import access
from app.http.connection import client_connection
from app.http.documentation import documented
from app.http.fields import parse_id
from app.http.operation import operation
from app.http.query import query
from app.jobs import schemas as job_schemas
from app.jobs import service as jobs
from app.jobs.representation import FIELDS
from app.live import answers, schemas, service
from app.live.reader import LogReader
from app.live.selection import Selection
from app.live.sending import StreamClient, send
from app.live.slots import StreamSlots
from app.periodic import DatabaseContext

blueprint = Blueprint("live", __name__, url_prefix="/api/scrape-jobs")


@dataclass(frozen=True, slots=True)
class _Live:
    slots: StreamSlots
    reader: LogReader
    context: DatabaseContext
    is_stopping: Callable[[], bool]


def register(
    app: Flask, slots: StreamSlots, context: DatabaseContext, is_stopping: Callable[[], bool]
) -> None:
    """Add the event streams to `app`.

    Args:
        app: The application.
        slots: The slots for streams of this process.
        context: A context in which the threads of streams may use the database.
        is_stopping: Returns whether this process is about to end: streams end, and none begins.
    """
    reader = LogReader(context, is_stopping)
    app.extensions["live"] = _Live(slots, reader, context, is_stopping)
    app.register_blueprint(blueprint)


@blueprint.get("/events")
@operation("Failed to open the event stream", Scope.JOBS_READ)
@documented(
    answers.STREAM,
    query=schemas.LIST_STREAM,
    headers=(answers.LAST_EVENT_ID,),
    raises=answers.REFUSED,
)
def stream_jobs() -> Response:
    """Stream the changes of all jobs that match the filters."""
    parameters = query(schemas.LIST_STREAM)
    filters = job_schemas.filters(parameters)
    return _stream(
        Selection(tenant_scope.customer(), filters, _shown_fields(parameters)), parameters
    )


@blueprint.get("/<id>/events")
@operation("Failed to open the event stream", Scope.JOBS_READ, subject="job")
@documented(
    answers.STREAM,
    query=schemas.JOB_STREAM,
    headers=(answers.LAST_EVENT_ID,),
    raises=answers.REFUSED,
)
def stream_job(id: str) -> Response:
    """Stream the changes of one job."""
    job_id, parameters = parse_id(id), query(schemas.JOB_STREAM)
    jobs.get(job_id)
    selection = Selection(tenant_scope.customer(), fields=_shown_fields(parameters), job_id=job_id)
    return _stream(selection, parameters)


def _shown_fields(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in FIELDS if name in parameters["shown_fields"])


def _stream(selection: Selection, parameters: Mapping[str, Any]) -> Response:
    """Answer with a stream, whose slot is free again when the response is closed.

    The end of the body's generator would be too late: the server does not start it for HEAD.

    Raises:
        ProcessStopping: The stream would end at once.
        TooManyStreams: No slot is free.
    """
    live: _Live = current_app.extensions["live"]
    if live.is_stopping():
        raise ProcessStopping
    # A client that opens a stream again by itself repeats the URL, with a newer id in the header.
    last_event_id = request.headers.get("Last-Event-ID") or parameters["last_event_id"]
    with ExitStack() as cleanup:
        live.slots.take()
        cleanup.callback(live.slots.give_back)
        connection = client_connection()
        stream, opening = service.open_stream(live.reader, selection, last_event_id, connection)
        cleanup.callback(live.reader.remove, stream)
        client = StreamClient(_key_check(live.context), connection.is_closed)
        body = send(opening, stream, client, live.is_stopping)
        response = Response(body, mimetype=answers.MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})
        response.call_on_close(cleanup.pop_all().close)
        return response


def _key_check(context: DatabaseContext) -> Callable[[], None]:
    """Return a function that checks the key of the current request when the request has ended."""
    check = access.key_check()

    def check_in_context() -> None:
        with context():
            check()

    return check_in_context
