"""Keyword and arguments: what the library says is what our own rules say, and never more."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minibuild_dockerfile import split
from minibuild_dockerfile.lines import Logical, scan
from minibuild_dockerfile.split import _checked, split_all

from minibuild.digest import Digest
from minibuild.errors import Span
from minibuild.graph.frontend import NoNotes
from tests.conftest import CHECKOUT

DOCKERFILES = sorted(
    path
    for folder in ("dockerfile", "parse")
    for path in (CHECKOUT / "testdata" / folder).rglob("*Dockerfile*")
)


def logical(text: str) -> tuple[Logical, ...]:
    return scan(text, lambda first, last: Span("Dockerfile", first, last)).logical


class Memory(NoNotes):
    """Notes of one process."""

    def __init__(self) -> None:
        self.found: dict[Digest, str] = {}

    def find(self, key: Digest) -> str | None:
        return self.found.get(key)

    def keep(self, key: Digest, note: str) -> None:
        assert key not in self.found
        self.found[key] = note


def insist(lines: tuple[Logical, ...]) -> None:
    expected = [_checked(line, None) for line in lines]
    notes = Memory()
    assert split_all(lines, notes) == expected
    assert split_all(lines, notes) == expected, "as it was noted"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_of_whole_files(path: Path) -> None:
    """The library decides nothing: a Dockerfile read without it has the same instructions."""
    insist(logical(path.read_text(errors="surrogateescape")))


@given(st.text(st.sampled_from("RUN run#\\`\t  =\"'$\xa0\u2003\x0b\x1c\x85é\0"), min_size=1))
def test_of_any_line(line: str) -> None:
    """Characters that Python takes for space, and BuildKit does not; marks of continuation."""
    insist(logical(line))


def test_library_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same lines; the name of the file and what stands around them do not count."""
    notes, asked = Memory(), []
    ask = split._ask_library
    monkeypatch.setattr(split, "_ask_library", lambda lines: asked.append(lines) or ask(lines))
    for text in ("FROM a\nRUN b\n", "# comment\nFROM a\n\nRUN b\n", "FROM a\nRUN c\n"):
        split_all(logical(text), notes)
    assert len(asked) == 2
