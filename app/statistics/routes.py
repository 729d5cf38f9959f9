"""The endpoint of the statistics."""

import json
from typing import Any

from flask import Blueprint, Response

from app.api_keys.scopes import Scope
from app.errors import InvalidInput
from app.http import response
from app.http.documentation import Success, documented
from app.http.operation import operation
from app.http.query import query
from app.statistics import answers, schemas, service

blueprint = Blueprint("statistics", __name__, url_prefix="/api/scrape-jobs")


@blueprint.get("/stats")
@operation("Failed to fetch scrape job statistics", Scope.JOBS_READ)
@documented(
    Success(answers.STATISTICS, query={"group_by": "domain"}),
    query=schemas.STATISTICS,
    raises=(
        InvalidInput("Invalid to: must not be before from"),
        InvalidInput("Invalid timezone: must come with group_by=hour or group_by=day"),
    ),
)
def show_statistics() -> Response:
    """Show the figures of a time window, of all or some jobs, together and by group."""
    return figures_answer(query(schemas.STATISTICS))


def figures_answer(asked: dict[str, Any]) -> Response:
    """Answer the figures that `asked`, as `StatisticsSchema` returns it, asks for."""
    start, end = schemas.window(asked)
    figures = service.statistics(
        start,
        end,
        customer=asked.get("customer_config_id"),
        domain=asked.get("domain"),
        job_type=asked.get("job_type"),
        group=asked.get("group_by"),
        zone=schemas.zone(asked),
    )
    return response.success(json.dumps(figures, ensure_ascii=False))
