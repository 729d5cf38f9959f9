"""Equal responses of several operations, stored once, as components."""

import json
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any


def share_responses(document: dict[str, Any]) -> None:
    """Move each failure that several operations have to the components, and refer to it there."""
    times = Counter(_key(response) for *_, response in _failures(document))
    names: dict[str, str] = {}
    components = document["components"].setdefault("responses", {})
    for operation, status, response in list(_failures(document)):
        key = _key(response)
        if times[key] == 1:
            continue
        if key not in names:
            names[key] = _new_name(HTTPStatus(int(status)).phrase, components)
            components[names[key]] = response
        operation["responses"][status] = {"$ref": f"#/components/responses/{names[key]}"}


def _failures(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    yield operation, status, response


def _key(response: dict[str, Any]) -> str:
    return json.dumps(response, sort_keys=True)


def _new_name(phrase: str, taken: dict[str, Any]) -> str:
    """Return a new name for a component, such as ``NotFound`` or ``NotFound2``."""
    name = phrase.title().replace(" ", "")
    number = sum(other.rstrip("0123456789") == name for other in taken)
    return f"{name}{number + 1}" if number else name
