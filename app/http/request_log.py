"""The log line of each request: the request, its answer, and the change that it made."""

import logging

from app.http.context import RequestContext
from app.observability.change_log import LoggedChange
from app.text.sanitising import sanitise

log = logging.getLogger("app.requests")


def log_request(context: RequestContext, status: int) -> None:
    """Log one line for the request.

    The line of a request that makes one change contains it. Several changes, such as those of a
    batch, have a line each, because each names a job; the request's line has their number.
    """
    changes = context.changes
    if len(changes) > 1:
        for change in changes:
            change.write()
    level = logging.WARNING if _is_refusal(context, status) else logging.INFO
    if log.isEnabledFor(level):
        facts = _facts(context, status)
        if len(changes) == 1:
            facts.update(_change_facts(changes[0]))
        elif changes:
            facts["changes"] = len(changes)
        log.log(level, "request" if level == logging.INFO else "refused", extra={"facts": facts})


def _facts(context: RequestContext, status: int) -> dict[str, object]:
    route = context.route
    return {
        "method": context.method_label,
        "route": route,
        "path": None if route else sanitise(context.request.path)[:200],
        "status": status,
        "ms": round(context.seconds() * 1000, 2),
        "request_id": context.id,
        "job_id": context.id_of("job"),
        "webhook_id": context.id_of("webhook"),
        "actor": _actor(context),
        "address": context.address,
    }


def _change_facts(change: LoggedChange) -> dict[str, object]:
    return {
        "job_id": change.job_id,
        "action": change.action,
        "old_status": change.old_status,
        "new_status": change.new_status,
    }


def _actor(context: RequestContext) -> str | None:
    """Return the id of the request's key, or the type of an actor without one.

    The id of a revoked or expired key is returned, too.
    """
    if context.caller is None:
        return context.former_key
    return context.caller.actor.id or context.caller.actor.type


def _is_refusal(context: RequestContext, status: int) -> bool:
    """Return whether the caller was refused; rows of other customers are answered with 404."""
    is_bound = context.caller is not None and context.caller.customer is not None
    return status in (401, 403, 429) or (status == 404 and is_bound)
