"""Iteration over the pages of a list."""

from collections.abc import Iterator, Mapping
from typing import Any

from scrape_jobs.caller import Caller
from scrape_jobs.errors import RepeatedCursor


def items(
    caller: Caller,
    path: str,
    query: Mapping[str, Any] | None = None,
    *,
    limit: int | None = None,
    page_size: int | None = None,
) -> Iterator[Mapping[str, Any]]:
    """Yield the items of a list, page by page.

    Args:
        caller: Calls the API.
        path: The path of the list.
        query: The filters and the order.
        limit: Maximum number of items in total; None yields all.
        page_size: Number of items to request at once; None leaves it to the service.

    Raises:
        RepeatedCursor: The service returned the same cursor twice.
    """
    cursor: str | None = None
    cursors: set[str] = set()
    left = limit
    while left is None or left > 0:
        sizes = [size for size in (page_size, left) if size is not None]
        position = {"limit": min(sizes) if sizes else None, "cursor": cursor}
        page = caller.call("GET", path, query={**(query or {}), **position}).document
        for item in page["data"]:
            yield item
            if left is not None:
                left -= 1
                if left == 0:
                    return
        pagination = page.get("pagination") or {}
        if not pagination.get("has_more"):
            return
        cursor = pagination["next_cursor"]
        if cursor is None or cursor in cursors:
            raise RepeatedCursor(f"The pages of {path} do not end: cursor {cursor!r} came twice")
        cursors.add(cursor)
