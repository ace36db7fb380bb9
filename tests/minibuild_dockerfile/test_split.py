"""Keyword and arguments: what the library says is what our own rules say, and never more."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minibuild_dockerfile.lines import Logical, scan
from minibuild_dockerfile.split import _checked, split_all

from minibuild.errors import Span
from tests.conftest import CHECKOUT

DOCKERFILES = sorted(
    path
    for folder in ("dockerfile", "parse")
    for path in (CHECKOUT / "testdata" / folder).rglob("*Dockerfile*")
)


def logical(text: str) -> tuple[Logical, ...]:
    return scan(text, lambda first, last: Span("Dockerfile", first, last)).logical


def insist(lines: tuple[Logical, ...]) -> None:
    assert split_all(lines) == [_checked(line, None) for line in lines]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_of_whole_files(path: Path) -> None:
    """The library decides nothing: a Dockerfile read without it has the same instructions."""
    insist(logical(path.read_text(errors="surrogateescape")))


@given(st.text(st.sampled_from("RUN run#\\`\t  =\"'$\xa0\u2003\x0b\x1c\x85é\0"), min_size=1))
def test_of_any_line(line: str) -> None:
    """Characters that Python takes for space, and BuildKit does not; marks of continuation."""
    insist(logical(line))
