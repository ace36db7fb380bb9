"""Reading ignore files."""

import pytest

from minibuild.graph.ignore_file import parse
from minibuild.graph.vertex import IgnoreRules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("a\nb\n", ("a", "b")),
        ("a\r\n*.log\r\n", ("a", "*.log")),
        ("\ufeffa\n", ("a",)),
        ("# comment\na\n", ("a",)),
        ("  # not a comment\n", ("# not a comment",)),
        ("  a  \n\t\n", ("a",)),
        ("/a\n/\n./b/\nc//d/../e\n", ("a", "/", "b", "c/e")),
        ("!a\n! /b\n", ("!a", "!b")),
        ("!\n", ("!",)),
        ("../a\n", ("../a",)),
        ("\\#a\n\\!b\n", ("\\#a", "\\!b")),
    ],
)
def test_patterns(text: str, expected: tuple[str, ...]) -> None:
    assert parse(text).patterns == expected


def test_line_numbers() -> None:
    assert parse("# c\n\na\n!b", "n") == IgnoreRules(("a", "!b"), "n", (3, 4))
