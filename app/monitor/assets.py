"""The static files of the pages, under addresses that change with their content.

All files share one version in their address: so scripts import each other by relative paths, and
a browser never mixes two releases.
"""

import hashlib
from pathlib import Path

from flask import Response, send_from_directory, url_for
from werkzeug.exceptions import NotFound

FOLDER = Path(__file__).parent / "static"

SUFFIXES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""The kinds of files that are served, with their media types."""

_KEPT = "public, max-age=31536000, immutable"
_REVALIDATED = "no-cache"


class Assets:
    """The static files as they were when the process started."""

    def __init__(self) -> None:
        self._files = sorted(
            path for path in FOLDER.rglob("*") if path.is_file() and path.suffix in SUFFIXES
        )
        self.version = _digest(self._files)

    def url(self, name: str) -> str:
        """Return the address of the file `name`, a path relative to the folder."""
        return url_for("monitor.static_file", version=self.version, name=name)

    def answer(self, version: str, name: str) -> Response:
        """Answer with a file.

        A page of another release, during an upgrade, gets the file of this one, uncached.

        Raises:
            NotFound: There is no such file.
        """
        path = FOLDER / name
        if path not in self._files:
            raise NotFound
        response = send_from_directory(FOLDER, name, mimetype=SUFFIXES[path.suffix], etag=True)
        response.headers["Cache-Control"] = _KEPT if version == self.version else _REVALIDATED
        return response


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(FOLDER)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
