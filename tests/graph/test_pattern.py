"""Wildcards of one name, against tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.errors import DefinitionError
from minibuild.graph.pattern import clean, escape_glob, has_wildcard, match_glob, unescape_glob

# --- one name -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*", "", True),
        ("*c", "abc", True),
        ("a*", "a/b", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[a-c]x", "dx", False),
        ("[^a-c]x", "dx", True),
        ("[!a]x", "!x", True),
        ("[!a]x", "bx", False),
        ("[c-a]x", "bx", False),
        ("[c-a]x", "x", False),
        # A range the wrong way round holds nothing, and what is not in it is everything.
        ("[^c-a]x", "bx", True),
        ("[^c-a]x", "bxx", False),
        # A class may hold a slash, as in Go; then the first place that fits is not the only one.
        ("*[^a]*b", "x/yb", True),
        ("*[^a]*b", "xyb", True),
        ("*[^a]*b", "x/y/zb", False),
        ("[a*]", "*", True),
        ("[a*]", "ab", False),
        (r"[\]a]", "]", True),
        (r"[\-a]", "-", True),
        ("[[]", "[", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        (r"a\b", "ab", True),
        ("a.c", "abc", False),
        ("(a|b)+$^", "(a|b)+$^", True),
        ("é?", "éü", True),
        ("a\n?", "a\nb", True),
        ("?", "\udcff", True),
    ],
)
def test_match_glob(pattern: str, name: str, expected: bool) -> None:
    assert match_glob(pattern, name) is expected


@given(st.text(max_size=8))
def test_an_escaped_name_matches_itself_alone(name: str) -> None:
    assert match_glob(escape_glob(name), name)
    assert unescape_glob(escape_glob(name)) == name
    assert not match_glob(escape_glob(name), name + "x")


@pytest.mark.parametrize("pattern", ["[", "[]", "[]a]", "[a", "[a-]", "[-a]", "[^]", "a\\", "[a\\"])
def test_bad_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(DefinitionError, match="syntax error in pattern"):
        match_glob(pattern, "a")


def test_has_wildcard() -> None:
    assert [p for p in ("a", "a*", "a?", "[a]", r"a\b", "a]b", "!a") if has_wildcard(p)] == [
        "a*",
        "a?",
        "[a]",
        r"a\b",
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("", "."), (".", "."), ("a/./b/", "a/b"), ("//a//b", "/a/b"), ("a/../..", ".."), ("/..", "/")],
)
def test_clean(path: str, expected: str) -> None:
    assert clean(path) == expected
