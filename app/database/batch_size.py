"""How much to do in one statement, where the cost of a row is not known beforehand."""

SHRINK = 4
"""What a timeout divides the size by."""


class BatchSize:
    """A number of rows that follows the time that the statements take.

    A bound on rows alone does not bound a statement: rows may be large, or each may cause many
    others. So a statement that takes longer than `seconds` halves the size, a timeout quarters it,
    and one that takes less than a quarter of `seconds` doubles it, up to `most`.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self.rows = most

    @property
    def is_least(self) -> bool:
        """Whether it cannot become smaller."""
        return self.rows == 1

    def took(self, seconds: float) -> None:
        """Record how long a statement of this size took."""
        if seconds > self._seconds:
            self.rows = max(1, self.rows // 2)
        elif seconds < self._seconds / 4:
            self.rows = min(self._most, self.rows * 2)

    def timed_out(self) -> None:
        """Record that a statement of this size was broken off."""
        self.rows = max(1, self.rows // SHRINK)
