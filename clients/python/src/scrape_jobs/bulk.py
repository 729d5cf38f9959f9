"""Operations on many jobs: their requests and outcomes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from scrape_jobs.caller import Caller
from scrape_jobs.jobs import Status
from scrape_jobs.messages import JOBS, document_of

MAX_JOBS = 1000
"""The most jobs that one request may change."""

BULK_SECONDS = 20
"""Time that the service spends on one request."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an operation on many jobs for one of them.

    Attributes:
        status: The status of the job now; None if the service does not know the job.
        error: The reason why the job was not changed, as for one job.
        details: More about the reason, where there is more to say.
        document: The JSON document of the answer.
    """

    id: str
    outcome: Literal["cancelled", "retried", "refused", "not_found"]
    status: Status | None
    error: str | None
    details: str | None
    document: Mapping[str, Any]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the outcome that a JSON document of the service describes."""
        names = ("status", "error", "details")
        values = {name: document.get(name) for name in names}
        return cls(document["id"], document["outcome"], **values, document=document)

    @property
    def is_changed(self) -> bool:
        """Whether the job was changed."""
        return self.outcome not in ("refused", "not_found")


class BulkCalls:
    """The calls that change many jobs."""

    _caller: Caller

    def cancel_many(
        self,
        ids: Sequence[str] | None = None,
        *,
        reason: str | None = None,
        limit: int | None = None,
        **filters: Any,
    ) -> Sequence[Outcome]:
        """Cancel the jobs with `ids`, or the pending, running and failed ones that match.

        Args:
            ids: The ids of the jobs, any number; without them the filters select the jobs.
            reason: The reason, which the jobs show.
            limit: With filters: maximum number of jobs; None cancels all that match.
            filters: The filters of `list`, at least one.

        Returns:
            The outcome for each job: cancelled, refused or not_found.

        Raises:
            InvalidRequest: An id or a filter is invalid, or neither is given.
        """
        return self._change_many("cancel", ids, limit, filters, {"reason": reason})

    def retry_many(
        self,
        ids: Sequence[str] | None = None,
        *,
        delay_seconds: int | None = None,
        limit: int | None = None,
        **filters: Any,
    ) -> Sequence[Outcome]:
        """Send the failed jobs with `ids`, or those that match, back to pending.

        Args:
            ids: The ids of the jobs, any number; without them the filters select the jobs.
            delay_seconds: Seconds until the jobs are due; None makes them due at once.
            limit: With filters: maximum number of jobs; None retries all that match.
            filters: The filters of `list`, at least one.

        Returns:
            The outcome for each job: retried, refused or not_found.

        Raises:
            InvalidRequest: An id or a filter is invalid, or neither is given.
        """
        return self._change_many("retry", ids, limit, filters, {"delay_seconds": delay_seconds})

    def _change_many(
        self,
        operation: str,
        ids: Sequence[str] | None,
        limit: int | None,
        filters: Mapping[str, Any],
        fields: Mapping[str, Any],
    ) -> Sequence[Outcome]:
        if ids is not None and (filters or limit is not None):
            raise ValueError("Give either ids or filters")
        path = f"{JOBS}/{operation}"
        given = {name: value for name, value in fields.items() if value is not None}
        if ids is not None:
            return _change_jobs(self._caller, path, ids, given)
        return _change_matching_jobs(self._caller, path, document_of(filters), limit, given)


def _change_jobs(
    caller: Caller, path: str, ids: Sequence[str], fields: Mapping[str, Any]
) -> list[Outcome]:
    """Change the jobs with these ids, and return the outcomes in the same order.

    Args:
        caller: Calls the API.
        path: The path of the operation.
        ids: The ids; one that is repeated counts once.
        fields: Further fields of the request.
    """
    distinct = list(dict.fromkeys(ids))
    parts = (distinct[start : start + MAX_JOBS] for start in range(0, len(distinct), MAX_JOBS))
    return [
        outcome
        for part in parts
        for outcome in _outcomes(_call(caller, path, {"ids": part, **fields}))
    ]


def _change_matching_jobs(
    caller: Caller,
    path: str,
    filters: Mapping[str, Any],
    limit: int | None,
    fields: Mapping[str, Any],
) -> list[Outcome]:
    """Change the jobs that match, until no further one can be changed.

    A job that was refused is tried again with the next request; its last outcome counts.

    Args:
        caller: Calls the API.
        path: The path of the operation.
        filters: The filters, at least one: the service refuses an empty filter.
        limit: Maximum number of jobs in total; None changes all.
        fields: Further fields of the request.
    """
    found: dict[str, Outcome] = {}
    left = limit
    while left is None or left > 0:
        size = MAX_JOBS if left is None else min(left, MAX_JOBS)
        page = _call(caller, path, {"filter": filters, "limit": size, **fields})
        outcomes = list(_outcomes(page))
        found.update((outcome.id, outcome) for outcome in outcomes)
        is_stuck = not any(outcome.is_changed for outcome in outcomes)
        if is_stuck or not page["has_more"]:
            break
        left = None if left is None else left - len(outcomes)
    return list(found.values())


def _call(caller: Caller, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    page: Mapping[str, Any] = caller.call(
        "POST", path, body=body, extra_seconds=BULK_SECONDS
    ).document
    return page


def _outcomes(page: Mapping[str, Any]) -> Iterator[Outcome]:
    return (Outcome.from_json(document) for document in page["data"])
