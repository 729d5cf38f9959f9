"""Conventions of the code that no linter checks."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.service import ROOT

FOLDERS = ("app", "bench", "clients/python/src", "support", "tests")
MAX_LINES = 400
MAX_WORDS = 8


def modules(*folders: str) -> list[Path]:
    """Return the Python modules in `folders` of the project."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def definitions(path: Path, kind: type[ast.ClassDef] | type[ast.FunctionDef]) -> Iterator[str]:
    """Yield the names of the classes or functions at the top of a module."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, kind):
            yield node.name


def name_of(path: Path) -> str:
    """Return the path of a module relative to the project."""
    return str(path.relative_to(ROOT))


def test_class_names_are_unique() -> None:
    names = Counter(
        name
        for path in modules("app")
        for name in definitions(path, ast.ClassDef)
        if not name.startswith("_")
    )
    assert [name for name, number in names.items() if number > 1] == []


def test_test_names_are_short_and_unique_per_module() -> None:
    for path in modules("tests"):
        names = [name for name in definitions(path, ast.FunctionDef) if name.startswith("test_")]
        assert [name for name, number in Counter(names).items() if number > 1] == [], name_of(path)
        assert [name for name in names if name.count("_") > MAX_WORDS] == [], name_of(path)


@pytest.mark.parametrize("folder", FOLDERS)
def test_modules_are_bounded(folder: str) -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in modules(folder)}
    assert {name: size for name, size in sizes.items() if size > MAX_LINES} == {}


def test_tests_import_no_other_tests() -> None:
    importing = re.compile(r"^\s*(?:from|import) tests\b", re.MULTILINE)
    assert [name_of(path) for path in modules("tests") if importing.search(path.read_text())] == []


def test_support_and_app_import_no_tests() -> None:
    importing = re.compile(r"^\s*(?:from|import) (?:tests|bench)\b", re.MULTILINE)
    assert [
        name_of(path) for path in modules("app", "support") if importing.search(path.read_text())
    ] == []


def test_app_imports_no_harness() -> None:
    importing = re.compile(r"^\s*(?:from|import) support\b", re.MULTILINE)
    assert [name_of(path) for path in modules("app") if importing.search(path.read_text())] == []
