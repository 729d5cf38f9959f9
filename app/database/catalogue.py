"""The catalogue of all SQL statements, and their rendered form in docs/sql.

Modules keep their statements in module-level names, alone or in dictionaries. The rendered files
show in a review how a change in Python changes the SQL; ``flask sql render`` writes them.
"""

import importlib
import pkgutil
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import app
from app.database.sql_format import WIDTH, format_sql
from app.database.statements import Statement

DOCUMENTS = Path(__file__).parents[2] / "docs" / "sql"


def statements() -> Mapping[str, Statement]:
    """Return all statements of the application by name, in alphabetical order.

    Raises:
        ValueError: if two statements have the same name.
    """
    found: dict[str, Statement] = {}
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name.startswith("app.server."):
            continue  # it has no statements, and modules that need an optional package
        for statement in _statements_in(importlib.import_module(module.name)):
            if found.setdefault(statement.name, statement) is not statement:
                raise ValueError(f"two statements have the name {statement.name}")
    return dict(sorted(found.items()))


def _statements_in(module: ModuleType) -> Iterator[Statement]:
    for value in vars(module).values():
        for each in value.values() if isinstance(value, dict) else (value,):
            if isinstance(each, Statement):
                yield each


def render(statement: Statement) -> str:
    """Return the statement as an SQL file: name, promise and parameters as comments, then SQL."""
    header = [statement.name, "", *_paragraph(statement.promise), ""]
    header += _paragraph(f"Parameters: {', '.join(statement.parameters) or 'none'}")
    if statement.past_row_security:
        header += ["Row security: all customers"]
    comments = "\n".join(f"-- {line}".rstrip() for line in header)
    return f"{comments}\n\n{format_sql(statement.sql)}\n"


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - len("-- "), break_long_words=False, break_on_hyphens=False)


def documents() -> dict[Path, str]:
    """Return the content of each file that docs/sql should have."""
    return {DOCUMENTS / f"{name}.sql": render(each) for name, each in statements().items()}


def outdated_documents() -> list[Path]:
    """Return the files in docs/sql that differ from the statements, are missing or are unused."""
    return _outdated(documents())


def _outdated(wanted: dict[Path, str]) -> list[Path]:
    present = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS.glob("*.sql")}
    return sorted(path for path in wanted | present if wanted.get(path) != present.get(path))


def write_documents() -> list[Path]:
    """Bring docs/sql up to date and return the files that were written or removed."""
    wanted = documents()
    DOCUMENTS.mkdir(parents=True, exist_ok=True)
    outdated = _outdated(wanted)
    for path in outdated:
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return outdated
