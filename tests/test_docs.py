"""The pages name files and each other: what they name is there.

Links lead to a page and to a heading of it; a path in backquotes is one of the checkout, or beneath
`minibuild/` or `bench/`.
"""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PAGES = sorted([*(CHECKOUT / "docs").rglob("*.md"), CHECKOUT / "README.md"])
HOMES = (CHECKOUT, CHECKOUT / "minibuild", CHECKOUT / "bench", CHECKOUT / "docs")
PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w-]+\.(?:py|md|svg|json|toml))?)`")
LINK = re.compile(r"\]\(([^)]+)\)")
# Not of the checkout: folders of the store and of a layout, a word of `lab try`.
ELSEWHERE = {"blobs/sha256/", "partial/", "builds/", "contexts/", "d/"}


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`, as GitHub makes it from headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_paths_are_there(page: Path) -> None:
    missing = {
        path
        for path in PATH.findall(prose(page))
        if path not in ELSEWHERE and not any((home / path).exists() for home in HOMES)
    }
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
