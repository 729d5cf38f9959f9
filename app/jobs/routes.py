"""The jobs' endpoints."""

from typing import Any

from flask import Blueprint, Response

from app.api_keys.scopes import Scope
from app.http import pagination, response
from app.http.access import require_scope
from app.http.body import MERGE_PATCH, json_body
from app.http.fields import parse_id
from app.http.operation import RateLimitClass, operation
from app.http.preconditions import etag, is_known
from app.http.provenance import provenance
from app.http.query import query
from app.idempotency.decorator import idempotent
from app.jobs import schemas, service
from app.jobs.list_queries import ORDERS, Order
from app.jobs.responses import job_answer, preconditions
from app.jobs.resuming import ResumePoint
from app.jobs.states import Status

blueprint = Blueprint("jobs", __name__, url_prefix="/api/scrape-jobs")

UPDATED = "Job updated successfully"


@blueprint.get("")
@operation("Failed to list scrape jobs", Scope.JOBS_READ)
def list_jobs() -> Response:
    """List jobs, a page at a time."""
    asked = query(schemas.LIST)
    order = ORDERS[asked["sort"]]
    return _resumable_page(asked, order) if order.is_resumable else _page(asked, order)


def _page(asked: dict[str, Any], order: Order) -> Response:
    name, limit = asked["sort"], asked["limit"]
    after = pagination.decode(asked["cursor"], name, order.types) if "cursor" in asked else None
    found = service.page(schemas.filters(asked), order, after, limit + 1, asked["shown_fields"])
    return pagination.page(name, found.rows, limit, is_cut=found.is_cut)


def _resumable_page(asked: dict[str, Any], order: Order) -> Response:
    name, limit, since = asked["sort"], asked["limit"], ResumePoint()
    if "cursor" in asked:
        *position, time, id = pagination.decode(asked["cursor"], name, order.types * 2)
        since = ResumePoint((position[0], position[1]), (time, id))
    found, more, point = service.resumable_page(
        schemas.filters(asked), order, since, limit, asked["shown_fields"]
    )
    cursor = pagination.encode(name, (*point.position, *point.settled))
    return response.page(
        [job.json for job in found], limit=limit, next_cursor=cursor, has_more=more
    )


@blueprint.post("")
@operation("Failed to create scrape job", Scope.JOBS_WRITE, rate_limit=RateLimitClass.CREATIONS)
@idempotent()
def create_jobs() -> Response:
    """Create one job, or all of an array of them."""
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
def get_job(id: str) -> Response:
    """Show a job."""
    job = service.get(parse_id(id))
    if is_known(job.tag):
        return Response(status=304, headers={"ETag": etag(job.tag)})
    return job_answer(job)


@blueprint.put("/<id>")
@operation(
    "Failed to update scrape job", Scope.JOBS_WRITE, with_lease=Scope.QUEUE_WORK, subject="job"
)
def update_job(id: str) -> Response:
    """Update a job: stats replace, metadata is merged."""
    job_id, body = parse_id(id), json_body(sanitised=schemas.UPDATE.sanitised)
    fields = _allowed(schemas.UPDATE.parse(body))
    return job_answer(
        service.update(job_id, fields, preconditions(schemas.UPDATE.fixed(body)), provenance()),
        UPDATED,
    )


@blueprint.patch("/<id>")
@operation(
    "Failed to update scrape job", Scope.JOBS_WRITE, with_lease=Scope.QUEUE_WORK, subject="job"
)
def patch_job(id: str) -> Response:
    """Update a job, or move it in the queue, by a JSON Merge Patch."""
    job_id, body = parse_id(id), json_body(MERGE_PATCH, sanitised=schemas.PATCH.sanitised)
    fields = _allowed(schemas.PATCH.parse(body))
    return job_answer(
        service.patch(job_id, fields, preconditions(schemas.PATCH.fixed(body)), provenance()),
        UPDATED,
    )


def _allowed(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be updated; to cancel by it needs what a cancellation needs."""
    if fields.get("status") == Status.CANCELLED:
        require_scope(Scope.JOBS_CANCEL)
    return fields


@blueprint.delete("/<id>")
@operation("Failed to cancel scrape job", Scope.JOBS_CANCEL, subject="job")
def cancel_job(id: str) -> Response:
    """Cancel a job."""
    job_id, reason = parse_id(id), query(schemas.CANCEL)["reason"]
    return job_answer(
        service.cancel(job_id, reason, preconditions(), provenance()), "Job cancelled successfully"
    )


@blueprint.get("/<id>/history")
@operation("Failed to fetch scrape job history", Scope.JOBS_READ, subject="job")
def job_history(id: str) -> Response:
    """Show what happened to a job, oldest first."""
    job_id, asked = parse_id(id), query(schemas.HISTORY)
    name, limit = f"history {job_id}", asked["limit"]
    (after,) = pagination.decode(asked["cursor"], name, (int,)) if "cursor" in asked else (0,)
    found = service.history(job_id, after, limit + 1)
    return pagination.page(name, found.rows, limit, is_cut=found.is_cut)
