"""The catalogue of statements, and their rendered form in docs/sql.

The rendered files show in a review how the SQL changes.
"""

import sys

import pytest

from app.database import Statement, schema
from app.database.catalogue import outdated_documents, statements

OUTDATED = "docs/sql differs from the statements: run `flask --app wsgi sql render`"


def test_rendered_statements_are_up_to_date() -> None:
    assert [path.name for path in outdated_documents()] == [], OUTDATED


def test_every_statement_has_a_promise() -> None:
    promises = {name: each.promise for name, each in statements().items()}
    assert [name for name, promise in promises.items() if not promise.endswith(".")] == []


def test_statements_of_all_packages_are_found() -> None:
    some = {
        "change_job", "claim_all", "fan_out_status_changes", "count_events", "remove_old_jobs",
    }  # fmt: skip
    assert some < set(statements())


def test_statement_names_are_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Statement("database_state", "SELECT 1", promise="Another statement.")
    monkeypatch.setattr(schema, "OTHER", other, raising=False)
    with pytest.raises(ValueError, match="two statements have the name database_state"):
        statements()


def test_catalogue_needs_no_optional_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "granian", None)
    monkeypatch.delitem(sys.modules, "app.server.granian_worker", raising=False)
    assert "get_job" in statements()
