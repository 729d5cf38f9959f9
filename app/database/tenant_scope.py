"""Whose rows a statement sees: the one place that narrows every query to the caller's customer.

A statement says ``AND`` with `visible_rows`, and `app.database` gives it the customer of whoever
asks. Where nobody has said who asks, nothing is read: a thread or a command that does the service's
own work says so with `all_customers`.

Behind that stands a second wall, the row security of PostgreSQL, for a role that is not the tables'
owner: what `row_security` says for each statement is what its policies compare a row's customer
with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from uuid import UUID

PARAMETER = "tenant"

SETTING = "scrape_jobs.customer"
"""The name in PostgreSQL of what `row_security` says."""

_customer: ContextVar[UUID | None] = ContextVar("customer")


class TenantScopeMissing(RuntimeError):
    """A query of what is somebody's was run without saying for whom: a mistake in the program."""


def visible_rows(row: str) -> str:
    """Return the SQL condition that the row called `row`, with a customer_config_id, is the
    caller's to see."""
    return f"(%({PARAMETER})s::uuid IS NULL OR {row}.customer_config_id = %({PARAMETER})s::uuid)"


def customer() -> UUID | None:
    """Return the customer to whose rows the caller is bound; None: it sees all. Raises
    TenantScopeMissing."""
    try:
        return _customer.get()
    except LookupError:
        raise TenantScopeMissing(
            "say for whom: app.database.tenant_scope.tenant_scope or all_customers"
        ) from None


def row_security() -> str:
    """Return whose rows PostgreSQL itself lets a statement see: a customer's, ``all``, or
    ``nobody``'s."""
    try:
        return str(_customer.get() or "all")
    except LookupError:
        return "nobody"


def enter(owner: UUID | None) -> Token[UUID | None]:
    """See only the rows of `owner`, or all where that is None, until `leave` is given the token."""
    return _customer.set(owner)


def leave(token: Token[UUID | None]) -> None:
    """See what was seen before `enter`."""
    _customer.reset(token)


@contextmanager
def tenant_scope(owner: UUID | None) -> Iterator[None]:
    """See only the rows of `owner`, or all where that is None."""
    token = enter(owner)
    try:
        yield
    finally:
        leave(token)


@contextmanager
def all_customers() -> Iterator[None]:
    """See all rows, for the service's own work."""
    with tenant_scope(None):
        yield
