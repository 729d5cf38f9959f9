"""Runs a statement in steps whose size follows the time that they take."""

import time

from app.database.batch_size import BatchSize
from app.database.execution import Parameters, Row, in_transaction, run
from app.database.session_settings import STATEMENT_SECONDS
from app.database.statements import Statement
from app.errors import DatabaseTimeout


class Batches:
    """A statement of which a part is done at a time, so many rows as its parameter ``limit`` says.

    The size of the parts follows the time that they take (see `BatchSize`): there is no telling how
    large rows are.
    """

    def __init__(
        self, statement: Statement, limit: int, seconds: float = STATEMENT_SECONDS / 2
    ) -> None:
        self._statement = statement
        self._size = BatchSize(limit, seconds)

    def run(self, parameters: Parameters) -> list[Row]:
        """Do the next part, and return its rows.

        Raises DatabaseFailure or one of its kind; DatabaseTimeout only where even a single row
        takes too long, or where a transaction is open, which a timeout ends.
        """
        while True:
            started = time.monotonic()
            try:
                rows = run(self._statement, {**parameters, "limit": self._size.rows})
            except DatabaseTimeout:
                if self._size.is_least or in_transaction():
                    raise
                self._size.timed_out()
            else:
                self._size.took(time.monotonic() - started)
                return rows
