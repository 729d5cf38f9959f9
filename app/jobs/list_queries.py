"""The SQL of the list of jobs: orders, filters, and a page of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    cast,
    func,
    literal,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB

from app import database
from app.database import Statement, tenant_scope
from app.database.page_size import PAGE_BYTES, Fitting, is_cut
from app.jobs.models import TAGS, ScrapeJob
from app.jobs.queries import FIELDS, job_json


@dataclass(frozen=True, slots=True)
class Order:
    """A list's order, in one direction.

    Attributes:
        expressions: Expressions whose values together differ for any two rows.
        types: The types of these values.
        descending: Whether the largest come first.
        is_resumable: Whether later changes come last, so that the list can be read on from where it
            ended.
    """

    expressions: tuple[ColumnElement[Any], ...]
    types: tuple[type, ...]
    descending: bool = False
    is_resumable: bool = False


_CREATED = (ScrapeJob.created_at.expression, ScrapeJob.id.expression)
_UPDATED = (ScrapeJob.updated_at.expression, ScrapeJob.id.expression)
_MOMENT = (datetime, UUID)

ORDERS: Mapping[str, Order] = {
    "-created_at": Order(_CREATED, _MOMENT, descending=True),
    "created_at": Order(_CREATED, _MOMENT, is_resumable=True),
    "priority": Order(
        (-ScrapeJob.priority, *_CREATED), (int, *_MOMENT)
    ),  # the highest first, then the oldest
    "-updated_at": Order(_UPDATED, _MOMENT, descending=True),
    "updated_at": Order(_UPDATED, _MOMENT, is_resumable=True),
}


@dataclass(frozen=True, slots=True)
class Filters:
    """Which jobs to list; what is None does not narrow."""

    status: Sequence[str] | None = None
    domain: str | None = None
    job_type: str | None = None
    customer_config_id: UUID | None = None
    tag: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL conditions that all have to hold, those of who asks among them."""
        equal = {
            ScrapeJob.domain: self.domain,
            ScrapeJob.job_type: self.job_type,
            ScrapeJob.customer_config_id: self.customer_config_id,
        }
        owner = tenant_scope.customer()
        found = [column == value for column, value in equal.items() if value is not None]
        if owner is not None:
            found.append(ScrapeJob.customer_config_id == owner)
        if self.status is not None:
            found.append(ScrapeJob.status.in_(self.status))
        if self.tag is not None:
            found.append(TAGS.contains(cast([self.tag], JSONB)))
        for column, after, before in (
            (ScrapeJob.created_at, self.created_after, self.created_before),
            (ScrapeJob.updated_at, self.updated_after, self.updated_before),
        ):
            if after is not None:
                found.append(column >= after)
            if before is not None:
                found.append(column < before)
        return found


class Listed(NamedTuple):
    """A job in a list: its JSON, and its position, where the next page may start."""

    json: str
    position: tuple[Any, ...]


def page_query(
    filters: Filters,
    order: Order,
    after: Sequence[Any] | None,
    limit: int,
    fields: Collection[str] = FIELDS,
) -> Select[Any]:
    """Return the query of at most `limit` jobs in `order` from after the position `after` on.

    It is made as `app.database.page_size.fitting` makes one; its columns are the JSON text with
    `fields`, the values of the position, the number of jobs that were found, and the bytes before
    each.
    """
    keys = [
        expression.label(f"key_{number}") for number, expression in enumerate(order.expressions)
    ]
    query = select(
        literal_column(job_json(ScrapeJob.__tablename__, fields), Text).label("json"), *keys
    )
    query = query.where(*filters.conditions())
    if after is not None:
        here, there = tuple_(*order.expressions), tuple_(*(literal(value) for value in after))
        query = query.where(here < there if order.descending else here > there)
    found = query.order_by(*_directed(order.expressions, order)).limit(limit).subquery("r").c
    size = func.octet_length(found.json)
    before = func.sum(size).over(order_by=_directed(list(found)[1:], order), rows=(None, 0)) - size
    measured = (
        select(*found, func.count().over().label("found"), before.label("bytes")).subquery("p").c
    )
    return (
        select(*measured)
        .where(measured.bytes < PAGE_BYTES)
        .order_by(*_directed(list(measured)[1:-2], order))
    )


def _directed(expressions: Sequence[ColumnElement[Any]], order: Order) -> list[ColumnElement[Any]]:
    return [
        expression.desc() if order.descending else expression.asc() for expression in expressions
    ]


def page(
    filters: Filters,
    order: Order,
    after: Sequence[Any] | None,
    limit: int,
    fields: Collection[str] = FIELDS,
) -> Fitting[Listed]:
    """Return at most `limit` jobs in `order` from after the position `after` on, as many as fit a
    page."""
    rows = database.fetch(page_query(filters, order, after, limit, fields))
    return Fitting([Listed(text, tuple(position)) for text, *position, _, _ in rows], is_cut(rows))


LONGEST_CHANGE_SECONDS = 300
"""How long a transaction of the service may last at most; an older one only reads, such as a
dump."""

SETTLED_BEFORE = Statement(
    "settled_before",
    # Promises: the start of the oldest transaction that may still commit a change, or now.
    # PostgreSQL hides the start from other roles: a hidden transaction that writes, or is the
    # service's, counts as the longest possible one.
    f"""
    SELECT date_trunc('milliseconds', greatest(now() - interval '{LONGEST_CHANGE_SECONDS} seconds', least(now(), min(
        CASE WHEN a.state IS NULL THEN '-infinity' ELSE a.xact_start END))))
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND coalesce(a.backend_type, 'client backend') = 'client backend'
        AND a.pid <> pg_backend_pid()
        AND (a.xact_start IS NOT NULL
            OR a.state IS NULL
            AND (a.backend_xid IS NOT NULL OR a.application_name = current_setting('application_name')))
    """,
)


def settled_before() -> datetime:
    """Return the time before which no job can appear any more in an order of time."""
    moment: datetime = database.run(SETTLED_BEFORE, {})[0][0]
    return moment.astimezone(UTC)
