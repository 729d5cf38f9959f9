"""The tenant scope of each statement: the one place that limits queries to a customer's rows.

The tenant scope is a context: the rows of one customer, or the rows of all. A request sets it after
authentication; a thread or a command that works for the service itself sets it with
`all_customers`. Statements contain the condition `visible_rows`, and `app.database` adds the
customer as a parameter. Without a tenant scope such a statement is not run.

PostgreSQL's row security is the second line of defence. It applies to roles that do not own the
tables. Its policies compare the customer of a row with the setting that `row_security` returns,
which is made for each statement.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from uuid import UUID

PARAMETER = "tenant"
"""The parameter of the statements that contain `visible_rows`."""

SETTING = "scrape_jobs.customer"
"""The PostgreSQL setting that the policies of row security read."""

_customer: ContextVar[UUID | None] = ContextVar("customer")


class TenantScopeMissing(RuntimeError):
    """A statement on customers' rows was run without a tenant scope: an error in the program."""


def visible_rows(table: str) -> str:
    """Return the SQL condition for the rows in the tenant scope.

    Args:
        table: The name or alias of a table with a customer_config_id.
    """
    return f"(%({PARAMETER})s::uuid IS NULL OR {table}.customer_config_id = %({PARAMETER})s::uuid)"


def sees(scope: UUID | None, owner: UUID | None) -> bool:
    """Return whether rows of `owner` are in the tenant scope `scope`, as `visible_rows` decides.

    It is for rows that a thread of the service has read for several callers.

    Args:
        scope: A customer, or None for all customers.
        owner: The customer of a row, or None if it belongs to none.
    """
    return scope is None or owner == scope


def customer() -> UUID | None:
    """Return the customer of the tenant scope, or None if the scope is all customers.

    Raises:
        TenantScopeMissing: if no scope is set.
    """
    try:
        return _customer.get()
    except LookupError:
        raise TenantScopeMissing(
            "set a scope with app.database.tenant_scope.tenant_scope or all_customers"
        ) from None


def row_security() -> str:
    """Return the value of the PostgreSQL setting: a customer's id, ``all`` or ``nobody``."""
    try:
        return str(_customer.get() or "all")
    except LookupError:
        return "nobody"


def enter(customer_id: UUID | None) -> Token[UUID | None]:
    """Set the tenant scope to a customer, or to all if None; `leave` with the token resets it."""
    return _customer.set(customer_id)


def leave(token: Token[UUID | None]) -> None:
    """Restore the tenant scope from before `enter`."""
    _customer.reset(token)


@contextmanager
def tenant_scope(customer_id: UUID | None) -> Iterator[None]:
    """Run the block with the rows of one customer, or of all if None."""
    token = enter(customer_id)
    try:
        yield
    finally:
        leave(token)


@contextmanager
def all_customers() -> Iterator[None]:
    """Run the block with the rows of all customers, for the work of the service itself."""
    with tenant_scope(None):
        yield
