"""Finds links in the documents that lead to no file or no heading; part of `make lint`."""

import re
import sys

from support.documents import Page, pages


def broken_links(page: Page) -> list[str]:
    """Return the links of `page` without a target. Links to other sites are not checked."""
    broken = []
    for link in page.links():
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        if not target.exists() or (fragment and fragment not in Page(target).anchors()):
            broken.append(link)
    return broken


def main() -> None:
    """Print the broken links of all documents, and exit with 1 if there are any."""
    found = [f"{page.name}: no target: {link}" for page in pages() for link in broken_links(page)]
    sys.exit("\n".join(found) or None)


if __name__ == "__main__":
    main()
