"""The number of rows that one statement processes, adapted to the time that it takes."""

TIMEOUT_DIVISOR = 4
"""A timeout divides the size by this number."""


class BatchSize:
    """A number of rows that adapts to the time that the statements take.

    A limit on the number of rows does not limit the time of a statement: rows may be large, and one
    row may cause the change of many others. Therefore a statement that takes longer than
    `target_seconds` halves the size, a timeout quarters it, and a statement that takes less than a
    quarter of `target_seconds` doubles it, up to `max_rows`.
    """

    def __init__(self, max_rows: int, target_seconds: float) -> None:
        self._max_rows = max_rows
        self._target_seconds = target_seconds
        self.rows = max_rows

    @property
    def is_least(self) -> bool:
        """Whether the size is one row, which is the minimum."""
        return self.rows == 1

    def took(self, seconds: float) -> None:
        """Record how long a statement of this size took."""
        if seconds > self._target_seconds:
            self.rows = max(1, self.rows // 2)
        elif seconds < self._target_seconds / 4:
            self.rows = min(self._max_rows, self.rows * 2)

    def timed_out(self) -> None:
        """Record that a statement of this size timed out."""
        self.rows = max(1, self.rows // TIMEOUT_DIVISOR)
