"""Database functions: plain SQL, each in a file of its own beside the Python that calls it.

The file ``app/<package>/sql/<name>.sql`` holds a comment with the promise of the function, and its
CREATE FUNCTION. A migration executes that text. The name ends with a version: a release that needs
another behaviour brings a new function under the next version, and the former one stays for the
release that runs beside it during the upgrade. So a file that was released never changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from sqlalchemy import TextClause, text

_PACKAGES = Path(__file__).parents[1]
_COMMENT = "--"


@dataclass(frozen=True, slots=True)
class DatabaseFunction:
    """A function of the database.

    Attributes:
        name: The name in the database, with its version. ``flask sql show NAME`` prints the file.
        definition: The content of its file.
    """

    name: str
    definition: str

    @property
    def promise(self) -> str:
        """The guarantees that the function gives its callers: the comment at the top of its file.

        Further paragraphs of the comment, such as the meaning of arguments, do not belong to it.
        """
        comment = takewhile(lambda line: line.startswith(_COMMENT), self.definition.splitlines())
        lines = (line.removeprefix(_COMMENT).strip() for line in comment)
        return " ".join(takewhile(bool, lines))


def functions() -> Mapping[str, DatabaseFunction]:
    """Return all functions that this release creates, by name, in alphabetical order."""
    files = sorted(_PACKAGES.glob("*/sql/*.sql"), key=lambda file: file.stem)
    return {
        file.stem: DatabaseFunction(file.stem, file.read_text(encoding="utf-8")) for file in files
    }


def creation(name: str) -> TextClause:
    """Return the SQL that creates the function, for a migration."""
    return text(functions()[name].definition.replace(":", r"\:"))
