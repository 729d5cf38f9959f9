"""Named SQL statements, and the SQL fragments that they share."""

import functools
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID


def timestamp(expression: str) -> str:
    """Return SQL that writes a timestamptz as the API does: UTC, milliseconds, Z."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


@dataclass(frozen=True)
class Statement:
    """SQL with a name; parameters stand as ``%(name)s`` and carry a cast where PostgreSQL could not
    tell their type.

    One that goes `past_row_security` has to reach rows that are not, or not any more, known to be
    the caller's: what other customers' jobs occupy, what belonged to something that is gone. Its
    own conditions alone say which.
    """

    name: str
    sql: str
    past_row_security: bool = False

    @functools.cached_property
    def text(self) -> str:
        """The SQL to be run as text, with parentheses around each value: a cast binds before a
        number's minus."""
        return re.sub(r"(%\(\w+\)s)", r"(\1)", self.sql)

    @functools.cached_property
    def prepare(self) -> str:
        """The PREPARE that makes it known to a connection."""
        names = list(self.parameters)
        body = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", self.sql)
        return f"PREPARE {self.prepared_name} AS {body.replace('%%', '%')}"

    @functools.cached_property
    def execute(self) -> str:
        """The EXECUTE that runs it where it is known."""
        values = ", ".join(f"%({name})s" for name in self.parameters)
        return (
            f"EXECUTE {self.prepared_name} ({values})"
            if values
            else f"EXECUTE {self.prepared_name}"
        )

    @functools.cached_property
    def prepared_name(self) -> str:
        """Its name in a connection, which changes with the text, so that no older release's text is
        run by mistake."""
        return f"{self.name}_{hashlib.sha256(self.sql.encode()).hexdigest()[:16]}"

    @functools.cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of its parameters, in the order of their first appearance."""
        return tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", self.sql)))


def rows_of(cte: str, *columns: str) -> str:
    """Return SQL for the rows of a CTE, to be joined with a table by its primary key.

    The planner takes them for few, however many it thinks that the CTE has, and looks each of them
    up by the key.
    """
    arrays = (f"ARRAY(SELECT {column} FROM {cte})" for column in columns)  # noqa: S608 - of constants
    return f"unnest({', '.join(arrays)})"


def array(values: Iterable[UUID | str]) -> str:
    """Return ids or times as a parameter of an array of theirs: of a list the driver would make
    ``text[]``."""
    return f"{{{','.join(map(str, values))}}}"
