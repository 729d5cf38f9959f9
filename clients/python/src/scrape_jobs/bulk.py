"""Operations on many jobs: their requests and outcomes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from scrape_jobs.caller import Caller
from scrape_jobs.jobs import Status

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


def change_jobs(
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


def change_matching_jobs(
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
