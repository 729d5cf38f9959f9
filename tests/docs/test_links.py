"""Links between the documents, and the terms that they use."""

import re
from pathlib import Path

import pytest

from support.document_links import broken_links
from support.documents import Page, anchor, pages
from support.service import ROOT

PAGES = pages()
GLOSSARY = Page(ROOT / "docs" / "glossary.md")
GENERATED = "docs/sql/"


def banned_words() -> list[str]:
    """Return the words that the glossary advises against."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", GLOSSARY.section("Words to avoid"), re.MULTILINE)
    return [word.strip() for row in rows[1:] for word in row.split(",") if "---" not in row]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("link", ["missing.md", "#no-such-heading", "docs/api.md#no-such-heading"])
def test_broken_link_is_found(tmp_path: Path, link: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n[text]({link}) [title](#title) [site](https://example.com/#x)\n")
    assert broken_links(Page(page)) == [link]


def test_every_document_is_linked() -> None:
    linked = {
        (page.path.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in page.links()
    }
    documents = {page.path for page in PAGES if page.name.startswith("docs/")}
    unlinked = {path for path in documents if GENERATED not in str(path)} - linked
    assert not unlinked


def test_decisions_are_listed_in_order() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    index = Page(ROOT / "docs" / "adr" / "README.md").links()
    assert index == [path.name for path in decisions]
    for number, path in enumerate(decisions, 1):
        page = Page(path)
        assert page.text.startswith(f"# {number}. ")
        headings = re.findall(r"^## (.+)$", page.text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Status", "Consequences"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documents_use_the_vocabulary(page: Page) -> None:
    if page.name == GLOSSARY.name or page.name.startswith(GENERATED):
        return
    words = banned_words()
    assert len(words) > 20
    found = re.findall(rf"\b(?:{'|'.join(words)})\b", page.prose, re.IGNORECASE)
    assert not found, f"{page.name}: {found}"


def test_anchors_are_those_of_github() -> None:
    assert anchor("What's `new` in 0.1?") == "whats-new-in-01"
