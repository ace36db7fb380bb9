"""docs/reading.md leads through the code: each file and line that it cites is what it says.

`pytest tests/test_reading.py --update-golden` moves the line numbers to where the names are now.
"""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PAGE = CHECKOUT / "docs" / "reading.md"
CITED = re.compile(r"`((?:minibuild|frontends)/[\w/]+\.py):(\d+)`(?: `([^`]+)`)?")
NAMED = re.compile(r"`((?:minibuild|frontends)/[\w/]+(?:\.py|/))`")
MOST_LINES = 4110


def citations() -> list[tuple[str, int, str]]:
    """Each (file, line, words of that line) of the page."""
    return [(path, int(line), words) for path, line, words in CITED.findall(PAGE.read_text())]


def lines_of(path: str) -> list[str]:
    return (CHECKOUT / path).read_text().splitlines()


def test_lines_are_updated_if_asked(request: pytest.FixtureRequest) -> None:
    """First of all, so that the others see the new numbers."""
    if not request.config.getoption("--update-golden"):
        return
    text = PAGE.read_text()
    for path, line, words in citations():
        found = [n for n, there in enumerate(lines_of(path), 1) if words and has(there, words)]
        if found:
            nearest = min(found, key=lambda n: abs(n - line))
            text = text.replace(f"`{path}:{line}` `{words}`", f"`{path}:{nearest}` `{words}`")
    PAGE.write_text(text)


def has(line: str, words: str) -> bool:
    """Whether a line has the words, not as the beginning of a longer name."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", line) is not None


@pytest.mark.parametrize(("path", "line", "words"), citations())
def test_a_cited_line_is_what_it_says(path: str, line: int, words: str) -> None:
    """A name that moved is found by --update-golden; one that is gone wants another sentence."""
    there = lines_of(path)
    assert 0 < line <= len(there)
    assert has(there[line - 1], words), f"{path}:{line} is {there[line - 1]!r}"


@pytest.mark.parametrize("path", sorted(set(NAMED.findall(PAGE.read_text()))))
def test_what_the_table_names_is_there(path: str) -> None:
    """Files and folders."""
    assert (CHECKOUT / path).exists()


def test_it_is_an_afternoon() -> None:
    """The files that are cited, together."""
    total = sum(len(lines_of(path)) for path in {path for path, _, _ in citations()})
    assert total <= MOST_LINES, f"{total} lines"
