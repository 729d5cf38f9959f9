"""Named SQL statements, and the SQL fragments that they share."""

import functools
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

_PARAMETER = re.compile(r"%\((\w+)\)s")


def timestamp(expression: str) -> str:
    """Return SQL that formats a timestamptz as the API does: UTC, milliseconds, Z."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


@dataclass(frozen=True)
class Statement:
    """An SQL statement with a name and a promise.

    Attributes:
        name: A unique name. ``flask sql show NAME`` prints the statement.
        sql: The text. Parameters are written as ``%(name)s``, with a cast where PostgreSQL cannot
            infer their type.
        past_row_security: Whether row security shows the statement the rows of all customers. This
            is for statements that count other customers' jobs, or change rows whose customer is no
            longer known; only their own conditions select the rows.
        promise: The guarantees that the statement gives its callers, in plain English.
    """

    name: str
    sql: str
    past_row_security: bool = False
    promise: str = field(kw_only=True)

    @functools.cached_property
    def text(self) -> str:
        """The SQL to send as text.

        Each value gets parentheses, because a cast binds tighter than the minus of a number.
        """
        return _PARAMETER.sub(r"(\g<0>)", self.sql)

    @functools.cached_property
    def prepare(self) -> str:
        """The PREPARE statement, which makes the statement known to a connection."""
        return self.prepare_as(self.prepared_name)

    def prepare_as(self, name: str) -> str:
        """Return the PREPARE statement under another name."""
        names = list(self.parameters)
        body = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", self.sql)
        return f"PREPARE {name} AS {body.replace('%%', '%')}"

    @functools.cached_property
    def execute(self) -> str:
        """The EXECUTE statement, which runs the statement on a connection that has prepared it."""
        values = ", ".join(f"%({name})s" for name in self.parameters)
        return f"EXECUTE {self.prepared_name}" + (f" ({values})" if values else "")

    @functools.cached_property
    def prepared_name(self) -> str:
        """The name of the prepared statement.

        It contains a hash of the SQL, so that a connection never runs the text of another release.
        """
        return f"{self.name}_{hashlib.sha256(self.sql.encode()).hexdigest()[:16]}"

    @functools.cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in the order of their first use."""
        return tuple(dict.fromkeys(_PARAMETER.findall(self.sql)))


def rows_of(cte: str, *columns: str) -> str:
    """Return SQL for the rows of a CTE, to be joined with a table by its primary key.

    The planner expects few rows from an array, however many it expects from the CTE, and therefore
    looks up each row by the key.
    """
    arrays = (f"ARRAY(SELECT {column} FROM {cte})" for column in columns)  # noqa: S608 - of constants
    return f"unnest({', '.join(arrays)})"


def array(values: Iterable[UUID | str]) -> str:
    """Return ids or times as an array parameter. The driver would send a list as ``text[]``."""
    return f"{{{','.join(map(str, values))}}}"
