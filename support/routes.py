"""The routes of the service: those of the API, and those of the monitor's pages."""

from flask import Flask
from werkzeug.routing import Rule

from app.openapi.document import PAGE_BLUEPRINTS

PAGES = PAGE_BLUEPRINTS - {"documentation"}
"""The blueprints of the pages and of their files."""


def api_rules(app: Flask) -> list[Rule]:
    """Return the rules of the API: those that answer JSON in the common form, and /metrics."""
    return [rule for rule in app.url_map.iter_rules() if not _is_page(rule)]


def page_rules(app: Flask) -> list[Rule]:
    """Return the rules of the monitor's pages and files."""
    return [rule for rule in app.url_map.iter_rules() if _is_page(rule)]


def _is_page(rule: Rule) -> bool:
    return rule.endpoint.partition(".")[0] in PAGES
