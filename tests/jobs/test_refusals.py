"""The reasons for which a change is refused: SQL and Python know the same ones."""

import re

import pytest

from app.errors import DocumentTooLarge, ScrapeJobError
from app.jobs.change_queries import CHANGE, CHANGE_COMPARED
from app.jobs.refusals import Refusal, RefusedChange
from app.jobs.states import Status


def refused(refusal: Refusal) -> RefusedChange:
    return RefusedChange(refusal, ["priority"], Status.FAILED, Status.RUNNING, 1, 3)


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_has_an_exception(refusal: Refusal) -> None:
    assert isinstance(refused(refusal).exception(), ScrapeJobError)


@pytest.mark.parametrize("refusal", [Refusal.STATS, Refusal.METADATA, Refusal.CONFIG])
def test_refused_document_is_named(refusal: Refusal) -> None:
    error = refused(refusal).exception()
    assert isinstance(error, DocumentTooLarge)
    assert error.field == refusal.value


@pytest.mark.parametrize("sql", [CHANGE.sql, CHANGE_COMPARED.sql])
def test_sql_checks_refusals_in_their_order(sql: str) -> None:
    checks = sql[sql.index("checked AS") : sql.index("AS refusal")]
    reasons = re.findall(r"THEN '(\w+)", checks)
    assert list(dict.fromkeys(reasons)) == list(Refusal)
