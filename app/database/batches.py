"""Statements that process their rows in batches."""

import time

from app.database.batch_size import BatchSize
from app.database.execution import Parameters, Row, run
from app.database.session_settings import STATEMENT_SECONDS
from app.database.statements import Statement
from app.database.transactions import open_connection
from app.errors import DatabaseTimeout


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
        """Run the statement for the next batch and return its rows.

        Raises:
            DatabaseTimeout: if a single row takes too long, or if the statement times out inside a
                transaction, which the timeout ends.
            DatabaseFailure: if the statement fails otherwise.
        """
        while True:
            started = time.monotonic()
            try:
                rows = run(self._statement, {**parameters, "limit": self._size.rows})
            except DatabaseTimeout:
                if self._size.is_least or open_connection() is not None:
                    raise
                self._size.timed_out()
            else:
                self._size.took(time.monotonic() - started)
                return rows
