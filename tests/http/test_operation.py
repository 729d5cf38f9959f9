"""Declarations of endpoints: independent of the order of decorators, with defaults by method."""

import pytest
from flask import Response

from app.api_keys.scopes import Scope
from app.http.operation import RateLimitClass, Subject, operation, operation_of
from app.idempotency.decorator import idempotent

DECLARE = operation("It failed", Scope.JOBS_WRITE, subject="job")


def view() -> Response:
    return Response()


def test_order_of_decorators_does_not_matter() -> None:
    outside = DECLARE(idempotent()(view))
    inside = idempotent()(DECLARE(view))
    assert operation_of(outside) == operation_of(inside)
    assert operation_of(inside) is not None


@pytest.mark.parametrize(
    ("method", "subject", "expected"),
    [
        ("GET", "job", RateLimitClass.READS),
        ("HEAD", None, RateLimitClass.READS),
        ("POST", None, RateLimitClass.UPDATES),
        ("PUT", "webhook", RateLimitClass.UPDATES),
        ("DELETE", "job", RateLimitClass.JOB_UPDATES),
    ],
)
def test_method_and_subject_set_the_rate_limit(
    method: str, subject: Subject | None, expected: RateLimitClass
) -> None:
    declared = operation_of(operation("It failed", Scope.JOBS_READ, subject=subject)(lambda: None))
    assert declared is not None
    assert declared.rate_limit_class(method) == expected


def test_declared_rate_limit_replaces_the_default() -> None:
    declare = operation("It failed", Scope.JOBS_WRITE, rate_limit=RateLimitClass.CREATIONS)
    declared = operation_of(declare(lambda: None))
    assert declared is not None
    assert declared.rate_limit_class("POST") == RateLimitClass.CREATIONS
