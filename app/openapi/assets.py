"""Static files, served under names that change with their content."""

import hashlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "static"

FOR_EVER = "public, max-age=31536000, immutable"
"""The Cache-Control of a file that never changes under its name (RFC 8246)."""

_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}


class Asset(NamedTuple):
    """A static file.

    Attributes:
        name: Its name with a part of its SHA-256, such as ``docs.0123456789ab.js``.
        media_type: Its media type.
        content: Its bytes.
    """

    name: str
    media_type: str
    content: bytes


def load(path: str) -> Asset:
    """Return the static file at `path` in FOLDER."""
    file = FOLDER / path
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Asset(f"{file.stem}.{digest}{file.suffix}", _MEDIA_TYPES[file.suffix], content)
