"""Reading of query strings."""

from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from app.errors import InvalidInput
from app.http.context import current_context
from app.http.fields import StrictSchema
from app.text.sanitising import sanitise


def query(schema: StrictSchema) -> dict[str, Any]:
    """Return the values of the query string, loaded by `schema`; each may be given once.

    Bytes that are not UTF-8 become lone surrogates (PEP 383): sanitised fields drop them, other
    fields refuse them.

    Raises:
        InvalidInput: A value is invalid, unknown, or given more than once.
    """
    text = current_context().request.query_string.decode("utf-8", "surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    repeated = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    if repeated:
        raise InvalidInput(
            *(f"Invalid {sanitise(name)[:100]}: must be given once" for name in repeated)
        )
    return schema.parse(dict(pairs))
