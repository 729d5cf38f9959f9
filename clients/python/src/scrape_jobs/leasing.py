"""The calls by which a worker claims jobs and keeps leases."""

from collections.abc import Sequence
from typing import Any

from scrape_jobs.caller import Caller
from scrape_jobs.jobs import Job
from scrape_jobs.messages import JOBS, LEASE_HEADER, job_of, key_headers, path_of


class LeaseCalls:
    """The steps of a worker by hand; `ScrapeJobs.worker` takes them by itself."""

    _caller: Caller

    def claim(
        self,
        worker_id: str,
        *,
        job_types: Sequence[str] | None = None,
        domains: Sequence[str] | None = None,
        limit: int = 1,
        lease_seconds: int = 60,
        wait_seconds: int = 0,
        idempotency_key: str | None = None,
    ) -> Sequence[Job]:
        """Claim the next jobs for a worker; each is running and has a `lease_token`.

        If the answer is lost, the repeated request returns the same jobs.

        Args:
            worker_id: The name of the worker, which the job shows.
            job_types: Claim only jobs of these types; None claims all.
            domains: Claim only jobs of these domains; None claims all.
            limit: Maximum number of jobs, 1 to 100.
            lease_seconds: How long a lease lasts without a heartbeat, 5 to 3,600.
            wait_seconds: How long to wait for work, 0 to 20.
            idempotency_key: A repeated call with the same key returns the same jobs. Without it
                each call has a key of its own.
        """
        body = {
            "worker_id": worker_id,
            "job_types": job_types,
            "domains": domains,
            "limit": limit,
            "lease_seconds": lease_seconds,
            "wait_seconds": wait_seconds,
        }
        result = self._caller.call(
            "POST",
            f"{JOBS}/next",
            body=body,
            headers=key_headers(idempotency_key),
            extra_seconds=wait_seconds,
        )
        return [Job.from_json(document) for document in result.document["data"]]

    def heartbeat(self, job_id: str, lease_token: str) -> Job:
        """Extend the lease and return the job; it may be cancelled. Raises LeaseLost."""
        headers = {LEASE_HEADER: lease_token}
        return job_of(self._caller.call("POST", f"{path_of(job_id)}/heartbeat", headers=headers))

    def release(self, job_id: str, lease_token: str) -> Job:
        """Give a job back: it is due at once, and no retry is counted. Raises LeaseLost."""
        headers = {LEASE_HEADER: lease_token}
        return job_of(self._caller.call("POST", f"{path_of(job_id)}/release", headers=headers))

    def give_up(
        self, job_id: str, lease_token: str, error_message: str, delay_seconds: float | None = None
    ) -> Job:
        """Fail a leased job and send it back to pending in one step; a retry is counted.

        Raises:
            TransitionRefused: No retries are left; the job stays failed.
            LeaseLost: The job is no longer leased under the token.
        """
        body: dict[str, Any] = {"error_message": error_message}
        if delay_seconds is not None:
            body["delay_seconds"] = delay_seconds
        headers = {LEASE_HEADER: lease_token}
        return job_of(
            self._caller.call("POST", f"{path_of(job_id)}/retry", body=body, headers=headers)
        )
