"""docs/reading.md leads through the code: each file and line that it cites is what it says.

`pytest tests/test_reading.py --update-golden` moves the line numbers to where the names are now.
"""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PAGE = CHECKOUT / "docs" / "reading.md"
CITED = re.compile(r"`((?:minibuild|frontends)/[\w/]+\.py):(\d+)`(?:\s+`([^`]+)`)?")
NAMED = re.compile(r"`((?:minibuild|frontends)/[\w/]+(?:\.py|/))`")
ROUNDED = 50
"""How far the number of lines that the page names may be off."""


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
            place = re.compile(rf"`{re.escape(path)}:{line}`(\s+)`{re.escape(words)}`")
            text = place.sub(rf"`{path}:{nearest}`\1`{words}`", text)
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
    """What is cited, with the heads of its files; the page says how much that is."""
    cited: dict[str, set[int]] = {}
    for path, line, _ in citations():
        cited.setdefault(path, set()).add(line)
    total = sum(len(to_read(path, lines)) for path, lines in cited.items())
    said = re.search(r"^About ([\d,]+) lines", PAGE.read_text(), re.MULTILINE)
    assert said is not None
    assert abs(total - int(said[1].replace(",", ""))) <= ROUNDED, f"{total} lines"


def to_read(path: str, lines: set[int]) -> set[int]:
    """The lines of a file's docstring, and of what begins at these lines."""
    tree = ast.parse((CHECKOUT / path).read_text())
    found = set(range(1, (tree.body[0].end_lineno or 0) + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno in lines:
            found.update(range(node.lineno, (node.end_lineno or 0) + 1))
    return found


def test_only_what_can_be_read_whole_is_cited() -> None:
    """A line that begins nothing would lead a reader into the middle of something."""
    for path, line, words in citations():
        assert len(to_read(path, {line})) > len(to_read(path, set())), f"{path}:{line} {words}"
