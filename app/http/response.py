"""The common form of all answers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response

JSON = "application/json"


def success(
    data: str,
    *,
    message: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer ``{"success": true, "data": …}``.

    Args:
        data: The data, as JSON text.
        message: The value of ``message``, which the answer lacks without it.
        status: The HTTP status.
        headers: Further headers.
    """
    tail = "" if message is None else f',"message":{json.dumps(message)}'
    return Response(f'{{"success":true,"data":{data}{tail}}}\n', status, headers, mimetype=JSON)


def page(items: Sequence[str], *, limit: int, next_cursor: str | None, has_more: bool) -> Response:
    """Answer a page of a list, whose `items` are JSON text."""
    pagination = {"limit": limit, "next_cursor": next_cursor, "has_more": has_more}
    body = f'{{"success":true,"data":[{",".join(items)}],"pagination":{json.dumps(pagination)}}}\n'
    return Response(body, mimetype=JSON)


def outcomes(
    items: Sequence[Mapping[str, Any]], *, counts: Mapping[str, int], has_more: bool
) -> Response:
    """Answer what happened to each of many jobs.

    Args:
        items: The outcome of each job.
        counts: How often each outcome occurs.
        has_more: Whether more jobs match the request.
    """
    body = {"success": True, "data": items, "counts": counts, "has_more": has_more}
    return Response(json.dumps(body, ensure_ascii=False) + "\n", mimetype=JSON)


def failure(
    status: int, error: str, details: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer ``{"success": false, "error": …}``, with ``details`` if there are any."""
    body: dict[str, Any] = {"success": False, "error": error}
    if details:
        body["details"] = details
    return Response(json.dumps(body, ensure_ascii=False) + "\n", status, headers, mimetype=JSON)
