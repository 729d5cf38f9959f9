"""The size limit of a page of a list: rows that do not fit are left to the next page."""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

PAGE_BYTES = 2 * 1024 * 1024
"""A page ends after this many bytes of JSON, even if more rows were requested.

A page has at least one row.
"""


class PageRows(NamedTuple, Generic[T]):
    """The rows of a page, and whether rows were left out because of their size."""

    rows: Sequence[T]
    is_cut: bool


def fit_page(rows: str, order: str) -> str:
    """Return SQL for the first rows of a query that fit in a page.

    PostgreSQL measures the rows, so that this process never receives the others.

    Args:
        rows: A query with a column ``json``, which contains the JSON text of a row.
        order: The columns of `rows` by which the page is ordered, as in ORDER BY.

    Returns:
        A query with the columns of `rows`, followed by the number of rows that were found and the
        number of bytes before each row.
    """
    return f"""SELECT * FROM (
        SELECT r.*, count(*) OVER () AS found,
            sum(octet_length(r.json)) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING)
                - octet_length(r.json) AS bytes
        FROM ({rows}) AS r
    ) AS p WHERE p.bytes < {PAGE_BYTES} ORDER BY {order}"""


def is_cut(rows: Sequence[Sequence[Any]]) -> bool:
    """Return whether a query made by `fit_page` left out rows because of their size.

    Args:
        rows: The result of the query.
    """
    return bool(rows) and rows[0][-2] > len(rows)
