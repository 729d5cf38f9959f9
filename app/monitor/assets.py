"""The static files of the pages, under addresses that change with their content.

All files share one version in their address: so scripts import each other by relative paths, and
a browser never mixes two releases.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from flask import Response
from werkzeug.exceptions import NotFound

FOLDER = Path(__file__).parent / "static"

MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""The kinds of files that are sent, with their media types."""

_KEPT = "public, max-age=31536000, immutable"
_REVALIDATED = "no-cache"


class Assets:
    """The static files as they were when the process started.

    Attributes:
        version: A hash of the names and contents of all files.
    """

    def __init__(self) -> None:
        self._contents: Mapping[str, bytes] = {
            path.relative_to(FOLDER).as_posix(): path.read_bytes()
            for path in sorted(FOLDER.rglob("*"))
            if path.suffix in MEDIA_TYPES
        }
        self.version = _hash(self._contents)

    def answer(self, version: str, name: str) -> Response:
        """Answer with a file.

        A page of another release, during an upgrade, gets the file of this one, uncached.

        Args:
            version: The version in the address.
            name: The path of the file in the folder.

        Raises:
            NotFound: There is no such file.
        """
        if name not in self._contents:
            raise NotFound
        response = Response(self._contents[name], mimetype=MEDIA_TYPES[Path(name).suffix])
        response.headers["Cache-Control"] = _KEPT if version == self.version else _REVALIDATED
        return response


def _hash(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
