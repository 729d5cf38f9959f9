"""SQL of the list of jobs: its orders, its filters, and a page of it."""

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
from app.database.page_size import PAGE_BYTES, PageRows, is_cut
from app.jobs.models import TAGS, ScrapeJob
from app.jobs.representation import FIELDS, job_json


@dataclass(frozen=True, slots=True)
class ListOrder:
    """An order of the list.

    Attributes:
        expressions: SQL expressions to order by. Together they differ between any two rows.
        types: The types of their values.
        descending: Whether the largest values come first.
        is_resumable: Whether later changes come last, so that reading can be resumed at the end of
            the list.
    """

    expressions: tuple[ColumnElement[Any], ...]
    types: tuple[type, ...]
    descending: bool = False
    is_resumable: bool = False


_CREATED = (ScrapeJob.created_at.expression, ScrapeJob.id.expression)
_UPDATED = (ScrapeJob.updated_at.expression, ScrapeJob.id.expression)
_MOMENT = (datetime, UUID)

ORDERS: Mapping[str, ListOrder] = {
    "-created_at": ListOrder(_CREATED, _MOMENT, descending=True),
    "created_at": ListOrder(_CREATED, _MOMENT, is_resumable=True),
    # The highest priority first, then the oldest.
    "priority": ListOrder((-ScrapeJob.priority, *_CREATED), (int, *_MOMENT)),
    "-updated_at": ListOrder(_UPDATED, _MOMENT, descending=True),
    "updated_at": ListOrder(_UPDATED, _MOMENT, is_resumable=True),
}


@dataclass(frozen=True, slots=True)
class JobFilters:
    """Filters of the list. A filter of None accepts every job."""

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
        """Return the SQL conditions of the filters and of the tenant scope, all of which apply."""
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


class ListedJob(NamedTuple):
    """A job in a list: its JSON text, and its position, after which a next page can start."""

    json: str
    position: tuple[Any, ...]


def page_query(
    filters: JobFilters,
    order: ListOrder,
    after: Sequence[Any] | None,
    limit: int,
    fields: Collection[str] = FIELDS,
) -> Select[Any]:
    """Return the query of a page of the list.

    It cuts the page by its size in bytes, in the same way as `app.database.page_size.fit_page`.

    Args:
        filters: Which jobs to list.
        order: The order of the list.
        after: The position after which the page begins, or None for the first page.
        limit: Maximum number of jobs.
        fields: The fields to show of each job.

    Returns:
        A query with the columns: the JSON text, the values of the position, the number of jobs
        found, and the number of bytes before the job.
    """
    keys = [
        expression.label(f"key_{number}") for number, expression in enumerate(order.expressions)
    ]
    query = select(
        literal_column(job_json(ScrapeJob.__tablename__, fields), Text).label("json"), *keys
    )
    query = query.where(*filters.conditions())
    if after is not None:
        position, start = tuple_(*order.expressions), tuple_(*(literal(value) for value in after))
        query = query.where(position < start if order.descending else position > start)
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


def _directed(
    expressions: Sequence[ColumnElement[Any]], order: ListOrder
) -> list[ColumnElement[Any]]:
    return [
        expression.desc() if order.descending else expression.asc() for expression in expressions
    ]


def page(
    filters: JobFilters,
    order: ListOrder,
    after: Sequence[Any] | None,
    limit: int,
    fields: Collection[str] = FIELDS,
) -> PageRows[ListedJob]:
    """Return a page of the list. See `page_query` for the arguments.

    Returns:
        At most `limit` jobs. Fewer if they exceed the size of a page.
    """
    rows = database.fetch(page_query(filters, order, after, limit, fields))
    jobs = [ListedJob(text, tuple(position)) for text, *position, _, _ in rows]
    return PageRows(jobs, is_cut(rows))


def ids(filters: JobFilters, statuses: Collection[str], limit: int) -> list[UUID]:
    """Return the ids of at most `limit` jobs that match, newest first.

    Args:
        filters: Which jobs to return.
        statuses: Further statuses, of which a job must have one.
        limit: Maximum number of jobs.
    """
    order = ORDERS["-created_at"]
    query = select(ScrapeJob.id).where(*filters.conditions(), ScrapeJob.status.in_(statuses))
    query = query.order_by(*_directed(order.expressions, order)).limit(limit)
    return [id for (id,) in database.fetch(query)]


MAX_CHANGE_SECONDS = 300
"""Maximum duration of a transaction of the service that changes jobs. A transaction that is older
only reads, such as a dump."""

SETTLED_BEFORE = Statement(
    "settled_before",
    promise="The start of the oldest transaction that may still commit a change, or now if there"
    " is none. PostgreSQL hides the start of other roles' transactions: a hidden"
    " transaction that writes, or that belongs to the service, counts as started"
    " MAX_CHANGE_SECONDS ago.",
    sql=f"""
    SELECT date_trunc('milliseconds', greatest(
        now() - interval '{MAX_CHANGE_SECONDS} seconds',
        least(now(), min(CASE WHEN a.state IS NULL THEN '-infinity' ELSE a.xact_start END))))
    FROM pg_stat_activity a
    WHERE a.datname = current_database()
        AND coalesce(a.backend_type, 'client backend') = 'client backend'
        AND a.pid <> pg_backend_pid()
        AND (a.xact_start IS NOT NULL
            OR a.state IS NULL AND (
                a.backend_xid IS NOT NULL
                OR a.application_name = current_setting('application_name')))
    """,
)


def settled_before() -> datetime:
    """Return the time before which no further job can appear in a list in order of time."""
    moment: datetime = database.run(SETTLED_BEFORE, {})[0][0]
    return moment.astimezone(UTC)
