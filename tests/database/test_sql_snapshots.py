"""The rendered statements in docs/sql, which show in a review how the SQL changes."""

import pytest

from app.database.catalogue import outdated_documents, statements

OUTDATED = "docs/sql differs from the statements: run `flask --app wsgi sql render`"


def test_rendered_statements_are_up_to_date() -> None:
    assert [path.name for path in outdated_documents()] == [], OUTDATED


@pytest.mark.xfail(reason="the promise of many statements is still a comment", strict=True)
def test_every_statement_has_a_promise() -> None:
    promises = {name: each.promise for name, each in statements().items()}
    assert [name for name, promise in promises.items() if not promise.endswith(".")] == []
