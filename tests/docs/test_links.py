"""Links between the documents, and the terms that they use."""

import re

import pytest

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
    for link in page.links():
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), f"{page.name}: {link}"
        if fragment:
            assert fragment in Page(target).anchors(), f"{page.name}: {link}"


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
