"""The page at /api/docs: the OpenAPI document to read and to try, by Swagger UI.

Swagger UI is a part of the project, in `static/swagger-ui`, so the page needs no other site. It
runs under a strict policy: scripts and styles come from files of this service only.
"""

from functools import cache

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from app.http.operation import operation
from app.openapi import assets
from app.openapi.assets import Asset

blueprint = Blueprint("documentation", __name__, url_prefix="/api")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""`data:` is for the icons in the style sheet of Swagger UI."""

_FAILURE = "Failed to show the documentation"

# Relative addresses, because a proxy may serve the API below a path of its own.
_HTML = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Scrape Job API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/{library_style}">
<link rel="stylesheet" href="docs/{style}">
<script defer src="docs/{library}"></script>
<script defer src="docs/{script}"></script>
</head>
<body>
<main id="reference">
<noscript>This page needs JavaScript. <a href="openapi.json">openapi.json</a> does not.</noscript>
</main>
</body>
</html>
"""


@cache
def page_assets() -> dict[str, Asset]:
    """Return the static files of the page, by their place in it."""
    return {
        "library_style": assets.load("swagger-ui/swagger-ui.css"),
        "style": assets.load("docs.css"),
        "library": assets.load("swagger-ui/swagger-ui-bundle.js"),
        "script": assets.load("docs.js"),
    }


@blueprint.get("/docs")
@operation(_FAILURE, is_open=True)
def show_page() -> Response:
    """Show the page."""
    names = {place: asset.name for place, asset in page_assets().items()}
    headers = {"Content-Security-Policy": POLICY}
    return Response(_HTML.format(**names), headers=headers, mimetype="text/html")


@blueprint.get("/docs/<name>")
@operation(_FAILURE, is_open=True)
def show_asset(name: str) -> Response:
    """Return a static file, which never changes under its name."""
    for asset in page_assets().values():
        if asset.name == name:
            headers = {"Cache-Control": assets.FOR_EVER}
            return Response(asset.content, headers=headers, mimetype=asset.media_type)
    raise NotFound
