"""The client of the Scrape Job API."""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, overload
from urllib.parse import urlsplit

from scrape_jobs.bulk import BulkCalls
from scrape_jobs.caller import MERGE_PATCH, Caller
from scrape_jobs.errors import ConfigurationError, Conflict, NotFound
from scrape_jobs.handling import Isolation
from scrape_jobs.jobs import Event, Job, Status
from scrape_jobs.leasing import LeaseCalls
from scrape_jobs.messages import (
    JOBS,
    LEASE_HEADER,
    document_of,
    job_of,
    key_headers,
    path_of,
    plain,
)
from scrape_jobs.paging import items
from scrape_jobs.retrying import RetryPolicy
from scrape_jobs.transport import RequestsTransport, Timeout, Transport
from scrape_jobs.waiting import WaitingCalls
from scrape_jobs.webhook_endpoints import WebhookEndpoints
from scrape_jobs.worker import Worker

URL_VARIABLE = "SCRAPE_JOBS_URL"
KEY_VARIABLE = "SCRAPE_JOBS_KEY"

MAX_PAGE = 200


class _Unset(Enum):
    UNSET = "unset"


UNSET: Final = _Unset.UNSET
"""The value of a field that a change leaves as it is. None sets a field to null."""

Unset = Literal[_Unset.UNSET]


class ScrapeJobs(BulkCalls, LeaseCalls, WaitingCalls):
    """A client of the Scrape Job API. One object serves any number of threads.

    Attributes:
        webhooks: The operations on webhook endpoints.
    """

    def __init__(
        self,
        base_url: str | None = None,
        key: str | None = None,
        *,
        timeout: Timeout = (5.0, 30.0),
        retry: RetryPolicy | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Use the service at `base_url`.

        Args:
            base_url: The address, such as `http://localhost:3000`; default: SCRAPE_JOBS_URL.
            key: The API key; default: SCRAPE_JOBS_KEY. Without both no key is sent.
            timeout: Seconds to connect, and seconds between two parts of an answer.
            retry: When requests are repeated; default: up to six attempts.
            transport: Sends the requests; default: a `requests.Session` for each thread.

        Raises:
            ConfigurationError: No address is given, it is not an http(s) URL, or the key has
                characters that no key has.
        """
        url = base_url or os.environ.get(URL_VARIABLE, "")
        if not _is_address(url):
            raise ConfigurationError(
                f"Set base_url or {URL_VARIABLE} to the service's URL, such as"
                f" http://localhost:3000 (found {url!r})"
            )
        given_key = key or os.environ.get(KEY_VARIABLE) or None
        if given_key is not None and not (given_key.isascii() and given_key.isprintable()):
            raise ConfigurationError(f"The key in {KEY_VARIABLE} or `key` has invalid characters")
        self._caller = Caller(
            url.rstrip("/"),
            given_key,
            transport or RequestsTransport(),
            timeout,
            retry or RetryPolicy(),
        )
        self.webhooks = WebhookEndpoints(self._caller)

    def with_options(
        self, *, timeout: Timeout | None = None, retry: RetryPolicy | None = None
    ) -> "ScrapeJobs":
        """Return a client with other options that shares the connections of this one.

        It serves single calls: `api.with_options(timeout=(1, 2)).get(job_id)`.
        """
        caller = self._caller.with_options(timeout, retry)
        return ScrapeJobs(
            caller.base_url,
            caller.key,
            timeout=caller.timeout,
            retry=caller.retry,
            transport=caller.transport,
        )

    # Creating and reading

    def create(self, domain: str, *, idempotency_key: str | None = None, **fields: Any) -> Job:
        """Create a job.

        Args:
            domain: The host to scrape, such as `example.com`.
            idempotency_key: Makes two calls with the same key create one job. Without it each
                call has a key of its own.
            fields: Further fields: job_type, priority, max_retries, config, metadata, domain_id,
                customer_config_id, scheduled_for (a datetime or ISO 8601 text).
        """
        body = document_of({"domain": domain, **fields})
        return job_of(
            self._caller.call("POST", JOBS, body=body, headers=key_headers(idempotency_key))
        )

    def create_many(
        self, jobs: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Sequence[Job]:
        """Create up to 1,000 jobs, all or none, and return them in the same order."""
        body = [document_of(job) for job in jobs]
        result = self._caller.call("POST", JOBS, body=body, headers=key_headers(idempotency_key))
        return [Job.from_json(document) for document in result.document["data"]]

    @overload
    def get(self, job_id: str) -> Job | None: ...

    @overload
    def get(self, job_id: str, *, required: Literal[True]) -> Job: ...

    @overload
    def get(self, job_id: str, *, required: bool) -> Job | None: ...

    def get(self, job_id: str, *, required: bool = False) -> Job | None:
        """Return a job, or None if it does not exist.

        Args:
            job_id: The id of the job.
            required: Raise NotFound instead of returning None.
        """
        try:
            return job_of(self._caller.call("GET", path_of(job_id)))
        except NotFound:
            if required:
                raise
            return None

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int = 50,
        sort: str = "-created_at",
        status: Status | Sequence[Status] | None = None,
        **filters: Any,
    ) -> Iterator[Job]:
        """Return an iterator over the jobs that match, over all pages.

        Args:
            limit: Maximum number of jobs in total; None returns all.
            page_size: Number of jobs to request at once, 1 to 200.
            sort: created_at, -created_at, updated_at, -updated_at or priority.
            status: One status, or several.
            filters: Further filters: domain, job_type, customer_config_id, tag, created_after,
                created_before, updated_after, updated_before.

        Raises:
            RepeatedCursor: The service returned the same cursor twice.
        """
        statuses = [status] if isinstance(status, str) else status
        query = {
            **{name: plain(value) for name, value in filters.items()},
            "sort": sort,
            "status": ",".join(statuses) if statuses is not None else None,
        }
        for document in items(self._caller, JOBS, query, limit=limit, page_size=page_size):
            yield Job.from_json(document)

    def history(self, job_id: str, *, limit: int | None = None) -> Iterator[Event]:
        """Return an iterator over the changes of a job, oldest first."""
        path = f"{path_of(job_id)}/history"
        for document in items(self._caller, path, limit=limit, page_size=MAX_PAGE):
            yield Event.from_json(document)

    def stats(self, **query: Any) -> dict[str, Any]:
        """Return statistics.

        Args:
            query: from_ and to (datetime or text), domain, job_type, customer_config_id, group_by
                (domain, job_type, hour or day), timezone.
        """
        values = {name.rstrip("_"): plain(value) for name, value in query.items()}
        data: dict[str, Any] = self._caller.call("GET", f"{JOBS}/stats", query=values).document[
            "data"
        ]
        return data

    def queue_position(self, job_id: str) -> dict[str, Any]:
        """Return the position of a job in the queue, and the reason why it waits."""
        data: dict[str, Any] = self._caller.call("GET", f"{path_of(job_id)}/queue").document["data"]
        return data

    # Changing

    def update(
        self,
        job_id: str,
        *,
        status: Status | Unset = UNSET,
        stats: Mapping[str, Any] | Unset = UNSET,
        metadata: Mapping[str, Any] | Unset = UNSET,
        error_message: str | Unset | None = UNSET,
        retry_count: int | Unset = UNSET,
        started_at: datetime | str | Unset | None = UNSET,
        completed_at: datetime | str | Unset | None = UNSET,
        if_match: str | None = None,
        lease_token: str | None = None,
    ) -> Job:
        """Change the given fields of a job; stats replace the old ones, metadata is merged.

        Args:
            job_id: The id of the job.
            status: The new status. The other fields are those of the job.
            if_match: The `etag` that the job must still have.
            lease_token: The token of the lease under which the caller works; extends the lease.

        Raises:
            TransitionRefused: The job's status does not allow the new status.
            JobModified: The job was changed since `if_match`.
            LeaseLost: The job is no longer leased under the token.
        """
        fields = {
            "status": status,
            "stats": stats,
            "metadata": metadata,
            "error_message": error_message,
            "retry_count": retry_count,
            "started_at": started_at,
            "completed_at": completed_at,
        }
        given = {name: value for name, value in fields.items() if value is not UNSET}
        headers = _preconditions(if_match, lease_token)
        return job_of(
            self._caller.call("PUT", path_of(job_id), body=document_of(given), headers=headers)
        )

    def patch(
        self,
        job_id: str,
        changes: Mapping[str, Any],
        *,
        if_match: str | None = None,
        lease_token: str | None = None,
    ) -> Job:
        """Change a job by a JSON Merge Patch (RFC 7396); null removes a key of a document.

        While the job is pending or failed, it also changes priority, scheduled_for, max_retries
        and config.
        """
        return job_of(
            self._caller.call(
                "PATCH",
                path_of(job_id),
                body=document_of(changes),
                media_type=MERGE_PATCH,
                headers=_preconditions(if_match, lease_token),
            )
        )

    def cancel(self, job_id: str, reason: str | None = None, *, if_match: str | None = None) -> Job:
        """Cancel a pending, running or failed job.

        If a repeated request finds the job cancelled, the first one has had its effect: the job
        is returned.

        Raises:
            Conflict: The job was completed or cancelled before.
        """
        try:
            return job_of(
                self._caller.call(
                    "DELETE",
                    path_of(job_id),
                    query={"reason": reason},
                    headers=_preconditions(if_match, None),
                )
            )
        except Conflict as conflict:
            if conflict.attempts > 1 and conflict.details == "Job is already cancelled":
                return self.get(job_id, required=True)
            raise

    def retry(
        self,
        job_id: str,
        *,
        delay_seconds: float | None = None,
        reset_retry_count: bool = False,
    ) -> Job:
        """Send a failed job back to pending.

        Args:
            job_id: The id of the job.
            delay_seconds: Seconds until the job is due; None makes it due at once.
            reset_retry_count: Whether the retries are counted from 0 again.

        Raises:
            TransitionRefused: The job has not failed, or no retries are left.
        """
        body: dict[str, Any] = {}
        if delay_seconds is not None:
            body["delay_seconds"] = delay_seconds
        if reset_retry_count:
            body["reset_retry_count"] = True
        return job_of(self._caller.call("POST", f"{path_of(job_id)}/retry", body=body))

    # Working

    def worker(
        self,
        *,
        job_types: Sequence[str] | None = None,
        domains: Sequence[str] | None = None,
        concurrency: int = 1,
        lease: int = 60,
        grace: float = 25,
        poll: int = 5,
        isolate: Isolation = "thread",
        worker_id: str | None = None,
    ) -> Worker:
        """Return a worker that claims jobs and runs a handler for each.

        Args:
            job_types: Claim only jobs of these types; None claims all.
            domains: Claim only jobs of these domains; None claims all.
            concurrency: Maximum number of jobs at the same time.
            lease: Seconds without a heartbeat after which the service gives a job to another
                worker, 5 to 3,600. Heartbeats are sent three times as often.
            grace: Seconds that running jobs have to end after SIGTERM; the others are given back.
            poll: Seconds that a claim waits for work, 0 to 20.
            isolate: `process` runs each handler in a process of its own. It is for handlers that
                may hang or crash: after a cancel the process gets SIGTERM, then SIGKILL.
            worker_id: The name that the jobs show; default: the host name and the process id.
        """
        return Worker(
            self,
            job_types=job_types,
            domains=domains,
            concurrency=concurrency,
            lease=lease,
            grace=grace,
            poll=poll,
            isolate=isolate,
            worker_id=worker_id,
        )


def _is_address(url: str) -> bool:
    """Return whether `url` is an http(s) URL with a host, and with a valid port if it has one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _preconditions(if_match: str | None, lease_token: str | None) -> dict[str, str]:
    headers = {"If-Match": if_match, LEASE_HEADER: lease_token}
    return {name: value for name, value in headers.items() if value is not None}
