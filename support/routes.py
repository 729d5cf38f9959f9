"""The routes of the service: those of the API, and those of the monitor's pages."""

from flask import Flask
from werkzeug.routing import Rule

PAGES = "monitor."
"""The beginning of the endpoints of pages."""


def api_rules(app: Flask) -> list[Rule]:
    """Return the rules of the API: those that answer JSON in the common form, and /metrics."""
    return [rule for rule in app.url_map.iter_rules() if not rule.endpoint.startswith(PAGES)]


def page_rules(app: Flask) -> list[Rule]:
    """Return the rules of the monitor's pages and files."""
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith(PAGES)]
