"""The queue's endpoints."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from flask import Blueprint, Response

from app.api_keys.scopes import Scope
from app.errors import TransitionRefused
from app.http import response
from app.http.access import recognise_again
from app.http.body import json_body, optional_json_body
from app.http.errors import answer
from app.http.fields import object_of, parse_id
from app.http.operation import operation
from app.http.preconditions import required_lease_token
from app.http.provenance import provenance
from app.http.query import query
from app.http.shutdown import caller_is_gone
from app.idempotency.decorator import idempotent, once
from app.jobs import leases
from app.jobs.change_request import Retry
from app.jobs.responses import job_answer, preconditions
from app.queue import schemas, service
from app.queue.queries import Leased, Wanted
from app.queue.service import Worker
from app.queue.waiting import WaitingRoom
from app.vault import Vault


@dataclass(frozen=True, slots=True)
class Options:
    """How the queue works: jobs of one domain that may run at once (None: any), and whether the
    table is spread."""

    domain_limit: int | None = None
    spread: bool = False


class _NothingYet(Exception):
    """There is no work, and time left to wait for some; what was begun is to be undone."""


def blueprint(options: Options, room: WaitingRoom, vault: Vault) -> Blueprint:
    """Return the endpoints of a queue in whose `room` requests wait, and whose kept answers are
    sealed by `vault`."""
    routes = Blueprint("queue", __name__, url_prefix="/api/scrape-jobs")

    @routes.post("/next")
    @operation("Failed to take scrape jobs", Scope.QUEUE_WORK)
    def take_jobs() -> Response:
        """Take the jobs that come next, or wait for some."""
        asked = schemas.NEXT.parse(object_of(json_body(sanitised=schemas.NEXT.sanitised)))
        wanted = _wanted(asked["job_types"], asked["domains"])
        worker, limit = Worker(asked["worker_id"], asked["lease_seconds"]), asked["limit"]

        def take(*, is_last: bool) -> Response:
            jobs = service.claim(wanted, worker, limit, provenance(), spread=options.spread)
            if not jobs and not is_last:
                raise _NothingYet
            return _jobs(jobs)

        def attempt(is_last: bool) -> Response | None:
            recognise_again()
            try:
                return once(lambda: take(is_last=is_last), vault)
            except _NothingYet:
                return None

        return room.wait(attempt, asked["wait_seconds"], caller_is_gone) or _jobs(())

    @routes.get("/next")
    @operation("Failed to fetch the next scrape jobs", Scope.JOBS_READ, Scope.QUEUE_WORK)
    def upcoming_jobs() -> Response:
        """Show the jobs that come next, and take none."""
        asked = query(schemas.UPCOMING)
        return _jobs(
            service.upcoming(_wanted(asked["job_types"], asked["domains"]), asked["limit"])
        )

    @routes.get("/<id>/queue")
    @operation("Failed to fetch the place in the queue", Scope.JOBS_READ)
    def job_place(id: str) -> Response:
        """Show where a job stands in the queue, and why it has not started."""
        return response.success(json.dumps(service.place(parse_id(id), options.domain_limit)))

    @routes.post("/<id>/heartbeat")
    @operation("Failed to extend the lease", Scope.QUEUE_WORK)
    @idempotent()
    def heartbeat(id: str) -> Response:
        """Extend a lease."""
        job_id = parse_id(id)
        schemas.EMPTY.parse(object_of(optional_json_body()))
        return job_answer(leases.heartbeat(job_id, required_lease_token(), provenance()))

    @routes.post("/<id>/retry")
    @operation("Failed to retry scrape job", Scope.JOBS_WRITE, with_lease=Scope.QUEUE_WORK)
    @idempotent()
    def retry_job(id: str) -> Response:
        """Send a failed job, or with its token a running one, back to pending."""
        job_id, body = parse_id(id), optional_json_body(sanitised=schemas.RETRY.sanitised)
        asked = schemas.RETRY.parse(object_of(body))
        how = Retry(asked["delay_seconds"], resets=asked["reset_retry_count"])
        return _retry(job_id, schemas.error_message(asked), how)

    @routes.post("/<id>/release")
    @operation("Failed to release scrape job", Scope.QUEUE_WORK)
    @idempotent()
    def release_job(id: str) -> Response:
        """Give a running job back unfinished."""
        job_id = parse_id(id)
        schemas.EMPTY.parse(object_of(optional_json_body()))
        required_lease_token()
        return job_answer(
            leases.release(job_id, preconditions(), provenance()), "Job released successfully"
        )

    def _wanted(job_types: Sequence[str] | None, domains: Sequence[str] | None) -> Wanted:
        return Wanted(job_types, domains, domain_limit=options.domain_limit)

    return routes


def _retry(job_id: UUID, error_message: dict[str, str | None], how: Retry) -> Response:
    asked = preconditions()
    if asked.lease_token is None:
        outcome = leases.retry(job_id, error_message, how, asked, provenance())
        return job_answer(outcome, "Job queued for retry")
    text = error_message.get("error_message")
    given_up = leases.give_up(job_id, text, how, asked, provenance())
    if isinstance(given_up, TransitionRefused):
        return answer(given_up)  # not raised: the recorded failure of the attempt is committed
    return job_answer(given_up, "Job queued for retry")


def _jobs(jobs: Sequence[Leased]) -> Response:
    """Answer with jobs; each that was taken has its token, which no other answer shows."""
    return response.success(f"[{','.join(map(_job, jobs))}]")


def _job(job: Leased) -> str:
    return (
        job.json
        if job.token is None
        else f'{job.json[:-1]},"lease_token":{json.dumps(job.token)}}}'
    )
