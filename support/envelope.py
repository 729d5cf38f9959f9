"""The common form of failures."""

from typing import Any

from werkzeug.test import TestResponse


def failure_body(answer: TestResponse) -> dict[str, Any]:
    """Return the body of a failure, which must have the common form."""
    assert answer.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = answer.get_json()
    assert {"success", "error"} <= body.keys() <= {"success", "error", "details"}
    assert body["success"] is False
    assert all(type(body[name]) is str and body[name] for name in body.keys() - {"success"})
    return body
