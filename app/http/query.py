"""Reads a request's query string."""

from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from flask import request

from app.errors import InvalidInput
from app.http.fields import StrictSchema
from app.text.sanitising import sanitise


def query(schema: StrictSchema) -> dict[str, Any]:
    """Return the query string's values as `schema` has them; each may be given once. Raises
    InvalidInput.

    Bytes that are not UTF-8 become lone surrogates (PEP 383): fields that are sanitised drop them,
    others refuse them.
    """
    text = request.query_string.decode("utf-8", "surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    repeated = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    if repeated:
        raise InvalidInput(
            *(f"Invalid {sanitise(name)[:100]}: must be given once" for name in repeated)
        )
    return schema.parse(dict(pairs))
