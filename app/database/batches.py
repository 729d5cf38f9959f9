"""Statements that process their rows in batches."""

import time
from collections.abc import Callable
from typing import TypeVar

from app.database.batch_size import BatchSize
from app.database.execution import Parameters, Row, run
from app.database.session_settings import STATEMENT_SECONDS
from app.database.statements import Statement
from app.database.transactions import open_connection
from app.errors import DatabaseTimeout

T = TypeVar("T")


def run_batch(size: BatchSize, process: Callable[[int], T]) -> T:
    """Process one batch, with fewer rows after each timeout, and adapt `size`.

    Args:
        size: The number of rows of the batch.
        process: Processes at most the given number of rows.

    Returns:
        The result of `process`.

    Raises:
        DatabaseTimeout: if a single row takes too long, or if `process` times out inside a
            transaction, which the timeout ends.
        DatabaseFailure: if `process` fails otherwise.
    """
    while True:
        started = time.monotonic()
        try:
            result = process(size.rows)
        except DatabaseTimeout:
            if size.is_least or open_connection() is not None:
                raise
            size.timed_out()
        else:
            size.took(time.monotonic() - started)
            return result


class Batches:
    """Runs a statement batch by batch.

    The parameter ``limit`` of the statement is the number of rows in a batch. It adapts to the time
    that the batches take (see `BatchSize`), because the size of the rows is unknown.
    """

    def __init__(
        self, statement: Statement, limit: int, seconds: float = STATEMENT_SECONDS / 2
    ) -> None:
        self._statement = statement
        self._size = BatchSize(limit, seconds)

    def run(self, parameters: Parameters) -> list[Row]:
        """Run the statement for the next batch and return its rows. Raises as `run_batch` does."""
        return run_batch(
            self._size, lambda limit: run(self._statement, {**parameters, "limit": limit})
        )
