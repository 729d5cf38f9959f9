"""How many bytes a page of a list may hold: the rows that do not fit are left to the next page."""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

PAGE_BYTES = 2 * 1024 * 1024
"""Bytes of JSON after which a page ends, though more rows were asked for. A page has at least one
row."""


class Fitting(NamedTuple, Generic[T]):
    """The first rows of a list that fit a page, and whether rows were left out for their size."""

    rows: Sequence[T]
    is_cut: bool


def fitting(rows: str, order: str) -> str:
    """Return SQL for the first rows of a query that fit a page.

    PostgreSQL measures the rows, so that the others never reach this process.

    Args:
        rows: A query with a column ``json``, which holds a row's JSON text.
        order: The columns of `rows` that a page is ordered by, as in ORDER BY.

    Returns:
        A query with the columns of `rows`, then how many rows there were, and how many bytes come
        before each.
    """
    return f"""SELECT * FROM (
        SELECT r.*, count(*) OVER () AS found,
            sum(octet_length(r.json)) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - octet_length(r.json) AS bytes
        FROM ({rows}) AS r
    ) AS p WHERE p.bytes < {PAGE_BYTES} ORDER BY {order}"""


def is_cut(rows: Sequence[Sequence[Any]]) -> bool:
    """Return whether a query made by `fitting` left out rows for their size; `rows` is its
    result."""
    return bool(rows) and rows[0][-2] > len(rows)
