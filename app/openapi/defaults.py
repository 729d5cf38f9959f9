"""Default values of bodies, as a part of the descriptions.

Generators of types take a field with a `default` as always present, in requests too, so that their
users would have to send all of them.
"""

import json
from typing import Any


def describe_defaults(document: dict[str, Any]) -> None:
    """Move the defaults of the schemas in `document` to their descriptions."""
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            default = field.pop("default", None)
            if default is not None:
                text = f"By default {json.dumps(default)}."
                field["description"] = " ".join(filter(None, [field.get("description"), text]))
