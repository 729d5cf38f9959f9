"""Links of the OpenAPI document: from a creation to the operations on its result."""

from typing import Any

_CREATED_ID = "$response.body#/data/id"


def add_links(document: dict[str, Any]) -> None:
    """Link each operation that answers 201 with the operations below ``{path}/{id}``."""
    paths = document["paths"]
    for path, item in paths.items():
        response = item.get("post", {}).get("responses", {}).get("201")
        if response is not None:
            response["links"] = {
                operation["operationId"]: {
                    "operationId": operation["operationId"],
                    "parameters": {"id": _CREATED_ID},
                }
                for below, others in paths.items()
                if below.startswith(f"{path}/{{id}}") and below.count("{") == 1
                for operation in others.values()
            }
