"""Reads a request's query string."""

from typing import Any

from flask import request

from app.errors import InvalidInput
from app.http.fields import StrictSchema
from app.text import sanitise


def query(schema: StrictSchema) -> dict[str, Any]:
    """Return the query string's values as `schema` has them; each may be given once. Raises InvalidInput."""
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise InvalidInput(*(f"Invalid {sanitise(name)[:100]}: must be given once" for name in repeated))
    return schema.parse(request.args.to_dict())
