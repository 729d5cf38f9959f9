"""Keyset pagination: a cursor is the position of the last row of a page.

Rows that are added or removed between two pages shift nothing, unlike with offsets.
"""

import base64
import binascii
import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from flask import Response
from marshmallow import ValidationError, fields

from app.errors import InvalidInput
from app.http import response
from app.http.fields import QueryNumber, about

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_CURSOR_LENGTH = 500
INVALID_CURSOR = "must be the next_cursor of a page of the same list"
INVALID = InvalidInput(f"Invalid cursor: {INVALID_CURSOR}")


def limit_field() -> QueryNumber:
    """Return the schema field for the size of a page."""
    description = "The maximum number of rows on the page."
    metadata = {"description": description}
    return QueryNumber(1, MAX_LIMIT, load_default=DEFAULT_LIMIT, metadata=metadata)


class Row(Protocol):
    """A row of a list."""

    @property
    def json(self) -> str:
        """The row as JSON text."""

    @property
    def position(self) -> Sequence[Any]:
        """The values by which the list is sorted; the next page starts after them."""


def page(name: str, found: Sequence[Row], limit: int, *, is_cut: bool = False) -> Response:
    """Answer a page of a list that ends with its last page.

    Args:
        name: The name of the list, which its cursors carry.
        found: At most `limit` + 1 rows; the extra one only shows that more rows follow.
        limit: The maximum number of rows on the page.
        is_cut: Whether rows were left out because the page would be too large in bytes.
    """
    shown = found[:limit]
    more = is_cut or len(found) > limit
    cursor = encode(name, shown[-1].position) if more else None
    return response.page(
        [row.json for row in shown], limit=limit, next_cursor=cursor, has_more=more
    )


def encode(name: str, position: Sequence[Any]) -> str:
    """Return the cursor for a position in the list `name`; it is opaque to clients."""
    text = json.dumps([name, *position], default=_to_text, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, name: str, types: Sequence[type]) -> list[Any]:
    """Return the position that `cursor` stands for.

    Args:
        cursor: A cursor that `encode` returned.
        name: The name of the list.
        types: The types of the position's values.

    Raises:
        InvalidInput: `encode` did not make this cursor for this list.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if found != name or len(values) != len(types):
            raise InvalidInput(f"Invalid cursor: {INVALID_CURSOR}")
        return [_from_text(value, kind) for value, kind in zip(values, types, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise InvalidInput(f"Invalid cursor: {INVALID_CURSOR}") from None


def _to_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _from_text(value: Any, kind: type) -> Any:
    if kind is int:
        if type(value) is not int or not -(2**63) <= value < 2**63:
            raise ValueError(value)
        return value
    if not isinstance(value, str):
        raise TypeError(value)
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        # Any other offset may lead to a year that PostgreSQL or Python cannot represent.
        if moment.utcoffset() != timedelta(0) or moment.isoformat() != value:
            raise ValueError(value)
        return moment
    return uuid.UUID(value)


class Cursor(fields.String):
    """A cursor in a query string."""

    def __init__(self, example_list: str, *example_position: Any) -> None:
        """Take the name of a list, and a position in it, for the example in the documentation."""
        example = encode(example_list, example_position)
        super().__init__(
            **about(
                "The next_cursor of the page before.",
                minLength=1,
                maxLength=MAX_CURSOR_LENGTH,
                examples=[example],
            )
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not value or len(value) > MAX_CURSOR_LENGTH:
            raise ValidationError(INVALID_CURSOR)
        return str(super()._deserialize(value, attr, data, **kwargs))
