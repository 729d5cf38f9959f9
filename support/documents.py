"""The documentation as tests read it: code blocks, links, headings, and commands that are run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.service import ROOT

ADDRESS = "localhost:3000"
"""The address in the documents, in the place of which a test has its own."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) (.+?)\s*$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """The path from the project's folder."""
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        """The text."""
        return self.path.read_text()

    @property
    def prose(self) -> str:
        """The text without code blocks and code spans."""
        return re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", self.text))

    def section(self, heading: str) -> str:
        """Return the text below `heading`, up to the next heading of its level or a higher one."""
        match = re.search(rf"^(#+) {re.escape(heading)}$", self.text, re.MULTILINE)
        assert match, f"{self.name} has no heading {heading!r}"
        rest = self.text[match.end() :]
        end = re.search(rf"^#{{1,{len(match[1])}}} ", _without_code(rest), re.MULTILINE)
        return rest[: end.start()] if end else rest

    def anchors(self) -> set[str]:
        """Return the anchors of all headings, as GitHub makes them."""
        return {anchor(match[2]) for match in _HEADING.finditer(_without_code(self.text))}

    def links(self) -> list[str]:
        """Return the targets of all links outside of code."""
        return _LINK.findall(self.prose)


def pages() -> list[Page]:
    """Return the documents of the project: at its top, in docs/ and of the clients."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("clients/*/README.md")]
    return [Page(path) for path in sorted(found)]


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of `language` in `text`, in their order."""
    return [match[2] for match in _BLOCK.finditer(text) if match[1] == language]


def anchor(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def run_in_bash(script: str, folder: Path, address: str, **environ: str) -> str:
    """Run `script` word for word, but with `address` for ADDRESS, and return the output.

    `.venv/bin/python` in it is the Python of the tests. Fails where a command fails.
    """
    python = folder / ".venv" / "bin" / "python"
    if not python.exists():
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(ADDRESS, address)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(output: str) -> list[Mapping[str, Any]]:
    """Return the answers of the service among the lines of `output`."""
    return list(_answers(output))


def _answers(output: str) -> Iterator[Mapping[str, Any]]:
    for line in output.splitlines():
        if line.startswith('{"success"'):
            yield json.loads(line)


def _without_code(text: str) -> str:
    """Return `text` with blank code blocks, at the same positions."""
    return _BLOCK.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
