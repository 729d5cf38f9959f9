"""The SQL of the list of jobs: orders, filters, and a page of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, cast, literal, literal_column, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB

from app import database, visibility
from app.jobs.models import TAGS, ScrapeJob
from app.jobs.queries import job_json


@dataclass(frozen=True, slots=True)
class Order:
    """A list's order: expressions (and their values' types) that together tell any two rows apart, in one direction."""

    expressions: tuple[ColumnElement[Any], ...]
    types: tuple[type, ...]
    descending: bool = False


_CREATED = (ScrapeJob.created_at.expression, ScrapeJob.id.expression)
_UPDATED = (ScrapeJob.updated_at.expression, ScrapeJob.id.expression)
_MOMENT = (datetime, UUID)

ORDERS: Mapping[str, Order] = {
    "-created_at": Order(_CREATED, _MOMENT, descending=True),
    "created_at": Order(_CREATED, _MOMENT),
    "priority": Order((-ScrapeJob.priority, *_CREATED), (int, *_MOMENT)),  # the highest first, then the oldest
    "-updated_at": Order(_UPDATED, _MOMENT, descending=True),
    "updated_at": Order(_UPDATED, _MOMENT),
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

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL conditions that all have to hold, those of who asks among them."""
        equal = {
            ScrapeJob.domain: self.domain,
            ScrapeJob.job_type: self.job_type,
            ScrapeJob.customer_config_id: self.customer_config_id,
        }
        owner = visibility.customer()
        found = [column == value for column, value in equal.items() if value is not None]
        if owner is not None:
            found.append(ScrapeJob.customer_config_id == owner)
        if self.status is not None:
            found.append(ScrapeJob.status.in_(self.status))
        if self.tag is not None:
            found.append(TAGS.contains(cast([self.tag], JSONB)))
        if self.created_after is not None:
            found.append(ScrapeJob.created_at > self.created_after)
        if self.created_before is not None:
            found.append(ScrapeJob.created_at < self.created_before)
        return found


class Listed(NamedTuple):
    """A job in a list: its JSON, and its position, where the next page may start."""

    json: str
    position: tuple[Any, ...]


def page_query(filters: Filters, order: Order, after: Sequence[Any] | None, limit: int) -> Select[Any]:
    """Return the query of at most `limit` jobs in `order` from after the position `after` on."""
    query = select(literal_column(job_json(ScrapeJob.__tablename__)), *order.expressions)
    query = query.where(*filters.conditions())
    if after is not None:
        here, there = tuple_(*order.expressions), tuple_(*(literal(value) for value in after))
        query = query.where(here < there if order.descending else here > there)
    direction = [expression.desc() if order.descending else expression.asc() for expression in order.expressions]
    return query.order_by(*direction).limit(limit)


def page(filters: Filters, order: Order, after: Sequence[Any] | None, limit: int) -> Sequence[Listed]:
    """Return at most `limit` jobs in `order` from after the position `after` on."""
    return [Listed(row[0], row[1:]) for row in database.fetch(page_query(filters, order, after, limit))]
