"""Examples of parameters and response headers that have none of their own."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.jobs.schemas import JOB_ID

_BY_FORMAT = {"uuid": JOB_ID, "date-time": "2024-01-01T10:00:00.000Z"}


def add_examples(document: dict[str, Any]) -> None:
    """Give each parameter and each header in `document` an example, and lists their form.

    Required parameters show it in `example`, which pages fill in. Optional ones have it in their
    schema, because most requests leave them out.
    """
    for parameter in _parameters(document):
        schema = parameter["schema"]
        if parameter.get("in") == "query" and schema.get("type") == "array":
            parameter |= {"style": "form", "explode": False}  # values are separated by commas
            schema.pop("default", None)  # all values, which pages would put into each request
        schema.setdefault("examples", [_example(schema)])
        if parameter.get("required"):
            parameter.setdefault("example", schema["examples"][0])


def _parameters(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parameters and the response headers."""
    components = document["components"]
    yield from components["parameters"].values()
    yield from components["headers"].values()
    for path in (*document["paths"].values(), *document["webhooks"].values()):
        for operation in path.values():
            yield from (found for found in operation["parameters"] if "$ref" not in found)


def _example(schema: Mapping[str, Any]) -> Any:
    """Return a value that `schema` allows."""
    kind = schema.get("type")
    if kind == "array":
        return [_example(schema["items"])]
    for keyword in ("default", "const", "minimum"):
        if keyword in schema:
            return schema[keyword]
    for keyword in ("examples", "enum"):
        if keyword in schema:
            return schema[keyword][0]
    return _BY_FORMAT.get(schema.get("format", ""), True if kind == "boolean" else "example")
