"""The endpoint of the OpenAPI document."""

import hashlib
import json
from functools import cache

from flask import Blueprint, Flask, Response

from app.http.documentation import Content, documented
from app.http.documented_headers import ETAG, IF_NONE_MATCH, NOT_MODIFIED
from app.http.operation import operation
from app.http.preconditions import etag, is_known
from app.http.response import JSON
from app.openapi import page
from app.openapi.document import document

_DOCUMENT = Content(
    "The OpenAPI document.",
    media_type=JSON,
    schema={"type": "object", "required": ["openapi", "info", "paths"]},
    example={
        "openapi": "3.1.0",
        "info": {"title": "Scrape Job API", "version": "0.1.0"},
        "paths": {},
    },
    headers=(ETAG,),
)


def register(app: Flask) -> None:
    """Add the OpenAPI document of `app`, and the page that shows it."""
    blueprint = Blueprint("openapi", __name__, url_prefix="/api")

    @cache
    def text() -> str:
        return json.dumps(document(app), ensure_ascii=False) + "\n"

    @blueprint.get("/openapi.json")
    @operation("Failed to describe the API", is_open=True)
    @documented(_DOCUMENT, NOT_MODIFIED, headers=(IF_NONE_MATCH,))
    def get_open_api() -> Response:
        """Return this document."""
        tag = hashlib.sha256(text().encode()).hexdigest()[:16]
        headers = {"ETag": etag(tag)}
        if is_known(tag):
            return Response(status=304, headers=headers)
        return Response(text(), headers=headers, mimetype=JSON)

    app.register_blueprint(blueprint)
    app.register_blueprint(page.blueprint)
