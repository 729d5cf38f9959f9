"""The endpoints of the queue."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app

from app.api_keys.scopes import Scope
from app.errors import LeaseLost, TransitionRefused, VersionMismatch
from app.http import response
from app.http.access import reauthenticate
from app.http.body import json_body, optional_json_body
from app.http.connection import client_disconnected
from app.http.documentation import Body, Success, documented, invalid
from app.http.documented_headers import ETAG, IF_MATCH, LEASE_TOKEN
from app.http.errors import error_response
from app.http.fields import object_of, parse_id
from app.http.operation import operation
from app.http.preconditions import required_lease_token
from app.http.provenance import provenance
from app.http.query import query
from app.idempotency.decorator import idempotent, once
from app.jobs import answers as job_answers
from app.jobs import leases
from app.jobs.change_request import Retry
from app.jobs.representation import Representation
from app.jobs.responses import job_answer, preconditions
from app.queue import answers, schemas, service
from app.queue.claims import ClaimedJob, ClaimFilter, ClaimRequest
from app.queue.service import WaitingClient
from app.vault import Vault
from app.waiting import WaitingRequests

blueprint = Blueprint("queue", __name__, url_prefix="/api/scrape-jobs")

RETRIED_MESSAGE = "Job queued for retry"
RELEASED_MESSAGE = "Job released successfully"

_NO_TOKEN = LeaseLost("X-Lease-Token must carry the lease_token that came with the job")


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The settings of the queue.

    Attributes:
        domain_limit: How many jobs of one domain may run at the same time; None for no limit.
        is_distributed: Whether the jobs' table is distributed over several machines (Citus).
    """

    domain_limit: int | None = None
    is_distributed: bool = False


@dataclass(frozen=True, slots=True)
class _Queue:
    settings: QueueSettings
    waiting: WaitingRequests
    vault: Vault


def register(app: Flask, settings: QueueSettings, waiting: WaitingRequests, vault: Vault) -> None:
    """Add the endpoints of the queue to `app`.

    Args:
        app: The application.
        settings: The settings of the queue.
        waiting: The requests of this process that wait for jobs.
        vault: Encrypts the stored responses to claims, because they contain lease tokens.
    """
    app.extensions["queue"] = _Queue(settings, waiting, vault)
    app.register_blueprint(blueprint)


def _queue() -> _Queue:
    queue: _Queue = current_app.extensions["queue"]
    return queue


@blueprint.post("/next")
@operation("Failed to take scrape jobs", Scope.QUEUE_WORK)
@documented(
    Success(answers.CLAIMED_JOB, is_list=True),
    body=Body(schemas.NEXT, {"claim": {"worker_id": "worker-1", "lease_seconds": 60}}),
    raises=(invalid(schemas.NEXT, "worker_id"),),
)
def claim_jobs() -> Response:
    """Claim the jobs that come next, or wait for some."""
    body = object_of(json_body(sanitised=schemas.NEXT.sanitised))
    return service.claim_or_wait(
        _claim_request(schemas.NEXT.parse(body)),
        provenance(),
        _waiting_client(),
        _queue().waiting,
        is_distributed=_queue().settings.is_distributed,
    )


def _claim_request(fields: Mapping[str, Any]) -> ClaimRequest:
    return ClaimRequest(
        fields["worker_id"],
        _claim_filter(fields),
        limit=fields["limit"],
        lease_seconds=fields["lease_seconds"],
        wait_seconds=fields["wait_seconds"],
    )


def _claim_filter(fields: Mapping[str, Any]) -> ClaimFilter:
    limit = _queue().settings.domain_limit
    return ClaimFilter(fields["job_types"], fields["domains"], domain_limit=limit)


def _waiting_client() -> WaitingClient[Response]:
    return WaitingClient(
        reauthenticate=reauthenticate,
        is_disconnected=client_disconnected,
        run_once=partial(once, vault=_queue().vault),
        respond=_claimed_jobs,
    )


def _claimed_jobs(jobs: Sequence[ClaimedJob]) -> Response:
    """Return the claimed jobs with their lease tokens, which no other response shows."""
    return _job_list([f'{job.json[:-1]},"lease_token":{json.dumps(job.token)}}}' for job in jobs])


def _job_list(jobs: Sequence[str]) -> Response:
    return response.success(f"[{','.join(jobs)}]")


@blueprint.get("/next")
@operation("Failed to fetch the next scrape jobs", Scope.JOBS_READ, Scope.QUEUE_WORK)
@documented(
    Success(job_answers.JOB, is_list=True, changes=job_answers.PENDING), query=schemas.UPCOMING
)
def list_upcoming_jobs() -> Response:
    """List the jobs that come next, without claiming them."""
    fields = query(schemas.UPCOMING)
    jobs = service.upcoming(_claim_filter(fields), fields["limit"])
    return _job_list([job.json for job in jobs])


@blueprint.get("/<id>/queue")
@operation("Failed to fetch the place in the queue", Scope.JOBS_READ, subject="job")
@documented(Success(answers.POSITION))
def get_position(id: str) -> Response:
    """Show the position of a job in the queue, and why it has not started."""
    position = service.position(parse_id(id), _queue().settings.domain_limit)
    return response.success(json.dumps(position))


@blueprint.post("/<id>/heartbeat")
@operation("Failed to extend the lease", Scope.QUEUE_WORK, subject="job")
@documented(
    Success(job_answers.JOB, headers=(ETAG,), changes=answers.LEASED),
    body=Body(schemas.EMPTY, {"nothing": {}}, is_optional=True),
    headers=(LEASE_TOKEN,),
    raises=(_NO_TOKEN,),
)
@idempotent()
def heartbeat(id: str) -> Response:
    """Extend the lease of a job."""
    job_id = parse_id(id)
    schemas.EMPTY.parse(object_of(optional_json_body()))
    return job_answer(leases.heartbeat(job_id, required_lease_token(), provenance()))


@blueprint.post("/<id>/retry")
@operation(
    "Failed to retry scrape job", Scope.JOBS_WRITE, with_lease=Scope.QUEUE_WORK, subject="job"
)
@documented(
    Success(job_answers.JOB, message=RETRIED_MESSAGE, headers=(ETAG,), changes=answers.RETRIED),
    body=Body(schemas.RETRY, {"later": {"delay_seconds": 300}}, is_optional=True),
    headers=(IF_MATCH, LEASE_TOKEN),
    raises=(
        TransitionRefused("completed", "pending"),
        TransitionRefused("failed", "pending", (3, 3)),
        LeaseLost(),
        VersionMismatch(),
    ),
)
@idempotent()
def retry_job(id: str) -> Response:
    """Return a failed job to pending; with the lease token, a running job."""
    job_id, body = parse_id(id), optional_json_body(sanitised=schemas.RETRY.sanitised)
    fields = schemas.RETRY.parse(object_of(body))
    outcome = _retry(job_id, fields)
    if isinstance(outcome, TransitionRefused):
        return error_response(outcome)  # not raised: the attempt stays ended as failed
    return job_answer(outcome, RETRIED_MESSAGE)


def _retry(job_id: UUID, fields: Mapping[str, Any]) -> Representation | TransitionRefused:
    how = Retry(fields["delay_seconds"], resets=fields["reset_retry_count"])
    conditions = preconditions()
    if conditions.lease_token is not None:
        message = fields.get("error_message")
        return leases.give_up(job_id, message, how, conditions, provenance())
    report = {name: fields[name] for name in ("error_message",) if name in fields}
    return leases.retry(job_id, report, how, conditions, provenance())


@blueprint.post("/<id>/release")
@operation("Failed to release scrape job", Scope.QUEUE_WORK, subject="job")
@documented(
    Success(job_answers.JOB, message=RELEASED_MESSAGE, headers=(ETAG,), changes=answers.RELEASED),
    body=Body(schemas.EMPTY, {"nothing": {}}, is_optional=True),
    headers=(IF_MATCH, LEASE_TOKEN),
    raises=(_NO_TOKEN, VersionMismatch()),
)
@idempotent()
def release_job(id: str) -> Response:
    """Return a running job to pending, unfinished and without counting a retry."""
    job_id = parse_id(id)
    schemas.EMPTY.parse(object_of(optional_json_body()))
    required_lease_token()
    job = leases.release(job_id, preconditions(), provenance())
    return job_answer(job, RELEASED_MESSAGE)
