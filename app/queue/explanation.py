"""Explains the position of a job in the queue: when it starts, or why it does not."""

from typing import Any
from uuid import UUID

from app.jobs.states import Status
from app.queue.position_queries import MAX_COUNTED_JOBS, QueuePosition


def explain(job_id: UUID, position: QueuePosition) -> dict[str, Any]:
    """Return the position as the API shows it, with the reason in a sentence."""
    is_pending = position.status == Status.PENDING
    is_waiting = is_pending and position.is_due
    held_back_by = _reached_limit(position) if is_pending else None
    return {
        "id": str(job_id),
        "status": position.status,
        "priority": position.priority,
        "due_at": position.due_at if is_pending else None,
        "position": position.ahead + 1 if is_waiting else None,
        "position_is_exact": position.ahead < MAX_COUNTED_JOBS if is_waiting else None,
        "held_back_by": held_back_by,
        "reason": _reason(position, held_back_by),
    }


def _reached_limit(position: QueuePosition) -> dict[str, Any] | None:
    """Return the concurrency limit that prevents the job from starting, or None."""
    limit, running = position.limit, position.running
    if limit is None or running is None or running < limit:
        return None
    return {
        "limit": (
            "config.maxConcurrent"
            if position.max_concurrent == limit
            else "SCRAPE_JOBS_DOMAIN_LIMIT"
        ),
        "domain": position.domain,
        "allowed": limit,
        "running": running,
    }


def _reason(position: QueuePosition, held_back_by: dict[str, Any] | None) -> str:
    if position.status != Status.PENDING:
        return f"The job is {position.status}, and only pending jobs wait"
    if not position.is_due:
        return f"The job is not due before {position.due_at}"
    if held_back_by is not None:
        running = (
            "1 job of {domain} is"
            if held_back_by["running"] == 1
            else "{running} jobs of {domain} are"
        )
        return (running + " running, and {limit} allows {allowed}").format(**held_back_by)
    if position.ahead == 0:
        return "The job is the next: it starts when a worker asks for work of its domain and type"
    if position.ahead == 1:
        return "1 due job comes before it"
    more = "at least " if position.ahead >= MAX_COUNTED_JOBS else ""
    return f"{more}{position.ahead} due jobs come before it"
