"""The reasons for which a change is refused: SQL and Python know the same ones."""

import re

import pytest

from app.database.functions import functions
from app.errors import DocumentTooLarge, ScrapeJobError
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


def test_function_checks_refusals_in_their_order() -> None:
    reasons = re.findall(r"THEN '(\w+)", functions()["change_job_1"].definition)
    assert list(dict.fromkeys(reasons)) == list(Refusal)
