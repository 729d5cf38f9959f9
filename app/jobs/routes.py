"""The endpoints of jobs."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app

from app.api_keys.scopes import Scope
from app.errors import DocumentTooLarge, LeaseLost, NotCancellable, VersionMismatch
from app.http import pagination, response
from app.http.access import reauthenticate, require_scope
from app.http.body import MERGE_PATCH, json_body
from app.http.connection import client_disconnected
from app.http.context import current_context
from app.http.documentation import Body, Success, documented, invalid
from app.http.documented_headers import (
    ETAG,
    IF_MATCH,
    IF_NONE_MATCH,
    LEASE_TOKEN,
    LOCATION,
    NOT_MODIFIED,
)
from app.http.fields import parse_id
from app.http.operation import RateLimitClass, operation
from app.http.preconditions import etag, is_known, known_tags, known_versions
from app.http.provenance import provenance
from app.http.query import query
from app.idempotency.decorator import idempotent
from app.jobs import answers, schemas, service, watching
from app.jobs.documents import MAX_DOCUMENT_BYTES
from app.jobs.list_queries import ORDERS, ListOrder
from app.jobs.responses import job_answer, preconditions
from app.jobs.resuming import ResumePoint
from app.jobs.states import Status
from app.waiting import NothingYet, WaitingRequests

blueprint = Blueprint("jobs", __name__, url_prefix="/api/scrape-jobs")

UPDATED_MESSAGE = "Job updated successfully"
CANCELLED_MESSAGE = "Job cancelled successfully"


def register(app: Flask, waiting: WaitingRequests) -> None:
    """Add the endpoints of jobs to `app`.

    Args:
        app: The application.
        waiting: The requests of this process that wait.
    """
    app.extensions["waiting_requests"] = waiting
    app.register_blueprint(blueprint)


@blueprint.get("")
@operation("Failed to list scrape jobs", Scope.JOBS_READ)
@documented(
    Success(answers.JOB, is_page=True, name="jobs"),
    Success(
        answers.SELECTED_FIELDS,
        is_page=True,
        name="selected-fields",
        query={"fields": "id,status"},
    ),
    query=schemas.LIST,
    raises=(pagination.INVALID,),
)
def list_jobs() -> Response:
    """List jobs, page by page."""
    return list_answer(query(schemas.LIST))


def list_answer(parameters: dict[str, Any]) -> Response:
    """Answer the page of the list that `parameters`, as `ListSchema` returns them, ask for."""
    order = ORDERS[parameters["sort"]]
    return _resumable_page(parameters, order) if order.is_resumable else _page(parameters, order)


def _page(parameters: dict[str, Any], order: ListOrder) -> Response:
    name, limit, after = parameters["sort"], parameters["limit"], None
    if "cursor" in parameters:
        after = pagination.decode(parameters["cursor"], name, order.types)
    found = service.page(
        schemas.filters(parameters), order, after, limit + 1, parameters["shown_fields"]
    )
    return pagination.page(name, found.rows, limit, is_cut=found.is_cut)


def _resumable_page(parameters: dict[str, Any], order: ListOrder) -> Response:
    name, limit, since = parameters["sort"], parameters["limit"], ResumePoint()
    if "cursor" in parameters:
        *position, time, id = pagination.decode(parameters["cursor"], name, order.types * 2)
        since = ResumePoint((position[0], position[1]), (time, id))
    found, more, point = service.resumable_page(
        schemas.filters(parameters), order, since, limit, parameters["shown_fields"]
    )
    cursor = pagination.encode(name, (*point.position, *point.settled))
    return response.page(
        [job.json for job in found], limit=limit, next_cursor=cursor, has_more=more
    )


@blueprint.post("")
@operation("Failed to create scrape job", Scope.JOBS_WRITE, rate_limit=RateLimitClass.CREATIONS)
@documented(
    Success(answers.JOB, 201, headers=(LOCATION, ETAG), changes=answers.CREATED, name="job"),
    Success(answers.JOB, 201, is_list=True, changes=answers.CREATED, name="batch"),
    body=Body(
        schemas.CREATE,
        {"job": answers.NEW_JOB, "batch": [answers.NEW_JOB]},
        max_batch=schemas.MAX_BATCH,
    ),
    raises=(invalid(schemas.CREATE, "domain"), DocumentTooLarge("config", MAX_DOCUMENT_BYTES)),
)
@idempotent()
def create_jobs() -> Response:
    """Create one job, or all jobs of an array."""
    body = json_body()
    in_batch = isinstance(body, list)
    created = service.create(schemas.parse_new_jobs(body), provenance(), in_batch=in_batch)
    if in_batch:
        return response.success(f"[{','.join(job.json for job in created)}]", status=201)
    job = created[0]
    location = {"Location": f"{blueprint.url_prefix}/{job.id}", "ETag": etag(job.tag)}
    return response.success(job.json, status=201, headers=location)


@blueprint.get("/<id>")
@operation("Failed to fetch scrape job", Scope.JOBS_READ, subject="job")
@documented(
    Success(answers.JOB, headers=(ETAG,)),
    NOT_MODIFIED,
    query=schemas.SHOW,
    headers=(IF_NONE_MATCH,),
)
def get_job(id: str) -> Response:
    """Show a job; with `wait_seconds`, when it is over or has changed, or when the time is up."""
    job_id = parse_id(id)
    if current_context().request.query_string:
        _wait(job_id, query(schemas.SHOW))
    job = service.get(job_id, known_tags())
    if is_known(job.tag):
        return response.not_modified({"ETag": etag(job.tag)})
    return job_answer(job)


def _wait(job_id: UUID, parameters: Mapping[str, Any]) -> None:
    """Wait until the job is as the client wants it. Raises NotAuthenticated if its key ends."""
    watch = watching.Watch(job_id, parameters["until"], known_versions())

    def attempt(is_last: bool) -> None:
        reauthenticate()
        if not watch.is_reached() and not is_last:
            raise NothingYet

    waiting: WaitingRequests = current_app.extensions["waiting_requests"]
    waiting.wait(attempt, parameters["wait_seconds"], client_disconnected)


@blueprint.put("/<id>")
@operation(
    "Failed to update scrape job", Scope.JOBS_WRITE, with_lease=Scope.QUEUE_WORK, subject="job"
)
@documented(
    Success(answers.JOB, message=UPDATED_MESSAGE, headers=(ETAG,), changes=answers.UPDATED),
    body=Body(schemas.UPDATE, answers.UPDATE_EXAMPLES, echoes=answers.JOB),
    headers=(IF_MATCH, LEASE_TOKEN),
    raises=answers.REFUSED_UPDATES,
)
def update_job(id: str) -> Response:
    """Update a job: new stats replace the old ones, metadata is merged."""
    job_id, body = parse_id(id), json_body(sanitised=schemas.UPDATE.sanitised)
    fields = _authorised(schemas.UPDATE.parse(body))
    return job_answer(
        service.update(job_id, fields, preconditions(schemas.UPDATE.fixed(body)), provenance()),
        UPDATED_MESSAGE,
    )


@blueprint.patch("/<id>")
@operation(
    "Failed to update scrape job", Scope.JOBS_WRITE, with_lease=Scope.QUEUE_WORK, subject="job"
)
@documented(
    Success(answers.JOB, message=UPDATED_MESSAGE, headers=(ETAG,), changes=answers.MOVED),
    body=Body(schemas.PATCH, {"move": {"priority": 9}}, MERGE_PATCH, echoes=answers.JOB),
    headers=(IF_MATCH, LEASE_TOKEN),
    raises=answers.REFUSED_PATCHES,
)
def patch_job(id: str) -> Response:
    """Update a job, or its place in the queue, by a JSON Merge Patch."""
    job_id, body = parse_id(id), json_body(MERGE_PATCH, sanitised=schemas.PATCH.sanitised)
    fields = _authorised(schemas.PATCH.parse(body))
    return job_answer(
        service.patch(job_id, fields, preconditions(schemas.PATCH.fixed(body)), provenance()),
        UPDATED_MESSAGE,
    )


def _authorised(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields, after checking the scope of a cancellation if they cancel the job."""
    if fields.get("status") == Status.CANCELLED:
        require_scope(Scope.JOBS_CANCEL)
    return fields


@blueprint.delete("/<id>")
@operation("Failed to cancel scrape job", Scope.JOBS_CANCEL, subject="job")
@documented(
    Success(
        answers.JOB,
        message=CANCELLED_MESSAGE,
        headers=(ETAG,),
        changes=answers.CANCELLED,
        query={"reason": "User requested cancellation"},
    ),
    query=schemas.CANCEL,
    headers=(IF_MATCH, LEASE_TOKEN),
    raises=(NotCancellable("completed"), LeaseLost(), VersionMismatch()),
)
def cancel_job(id: str) -> Response:
    """Cancel a job."""
    job_id, reason = parse_id(id), query(schemas.CANCEL)["reason"]
    return job_answer(
        service.cancel(job_id, reason, preconditions(), provenance()), CANCELLED_MESSAGE
    )


@blueprint.get("/<id>/history")
@operation("Failed to fetch scrape job history", Scope.JOBS_READ, subject="job")
@documented(
    Success(answers.EVENT, is_page=True, query={"cursor": answers.EVENT_CURSOR}),
    query=schemas.HISTORY,
    raises=(pagination.INVALID,),
)
def job_history(id: str) -> Response:
    """Show the events of a job, oldest first."""
    job_id, parameters = parse_id(id), query(schemas.HISTORY)
    name, limit, after = f"history {job_id}", parameters["limit"], 0
    if "cursor" in parameters:
        (after,) = pagination.decode(parameters["cursor"], name, (int,))
    found = service.history(job_id, after, limit + 1)
    return pagination.page(name, found.rows, limit, is_cut=found.is_cut)
