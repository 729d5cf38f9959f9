"""JSON documents of a job: stats, metadata and config."""

import json
from typing import Any

MAX_DOCUMENT_BYTES = 256 * 1024
"""Maximum size of one document, in bytes of the text that PostgreSQL writes for it."""


def document_text(value: Any) -> str:
    """Return the JSON text of `value`, with the spaces that PostgreSQL writes in jsonb."""
    return json.dumps(value, ensure_ascii=False)
