"""Ignore patterns and wildcards, against tables and a reference without regular expressions."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.errors import DefinitionError
from minibuild.graph.pattern import IgnorePatterns, clean, escape_glob, has_wildcard, match_glob

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


# --- lists of patterns --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["a"], "a", True),
        (["a"], "a/b/c", True),
        (["a"], "b/a", False),
        (["a/b"], "a", False),
        (["a/b"], "a/b/c", True),
        (["*"], "a/b", True),
        (["a/*"], "a", False),
        (["a/*"], "a/b/c", True),
        (["*/a"], "x/a", True),
        (["*/a"], "a", False),
        (["*/a"], "x/y/a", False),
        (["**/a"], "a", True),
        (["**/a"], "x/y/a", True),
        (["**/a"], "xa", False),
        (["**a"], "x/ya", True),
        (["**a?"], "xab", False),
        (["**"], "x/y", True),
        (["a/**"], "a", False),
        (["a/**"], "a/b/c", True),
        (["a/**/b"], "a/b", True),
        (["a/**/b"], "a/x/y/b", True),
        (["a/**/b"], "a/xb", False),
        (["a**b"], "a/x/b", True),
        (["**/*.go"], "x/y.go", True),
        (["A"], "a", False),
        (["/a"], "a", False),
        ([" a "], "a", True),
        (["./a/"], "a", True),
        (["", "a"], "a", True),
        (["a", "!a/b"], "a/b", False),
        (["a", "!a/b"], "a/b/c", False),
        (["a", "!a/b"], "a/c", True),
        (["!a/b", "a"], "a/b", True),
        (["*", "!a", "a/b"], "a/b/c", True),
        (["*", "!a", "a/b"], "a/c", False),
        (["*", "!**/*.md", "x/*"], "x/a.md", True),
        ([r"\!a"], "!a", True),
        ([r"a\*"], "a*", True),
        ([r"a\*"], "ab", False),
        (["a", "!a/b", "a"], "a/b", False),
        (["a/b", "!a"], "a/b", True),
        (["."], "a", False),
    ],
)
def test_excluded(patterns: list[str], path: str, expected: bool) -> None:
    assert IgnorePatterns(patterns).excluded(path) is expected


def test_lone_exclamation_mark_is_refused() -> None:
    with pytest.raises(DefinitionError, match="illegal exclusion pattern"):
        IgnorePatterns(["a", "!"])


@pytest.mark.parametrize(
    ("patterns", "directory", "expected"),
    [
        (["a"], "a", True),
        (["a"], "b", False),
        (["a", "!a/b"], "a", False),
        (["*", "!a/b"], "a", False),
        (["*", "!a/b"], "c", True),
        (["*", "!a/b/c"], "a/b", False),
        (["*", "!a/b/c"], "a/x", True),
        (["*", "!*/b"], "x", False),
        (["*", "!**/b"], "x/y", False),
        (["*", "!a[^x]b"], "a", False),
        (["*", "!a"], "b", True),
    ],
)
def test_may_prune(patterns: list[str], directory: str, expected: bool) -> None:
    assert IgnorePatterns(patterns).may_prune(directory) is expected


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["x", "", "a"], "a/b", 2),
        (["a", "!a/b"], "a/b", 1),
        (["a", "!a/b"], "a/c", 0),
        (["a"], "b", None),
        (["*", "!a", "a/b"], "a/b/c", 2),
    ],
)
def test_deciding_pattern(patterns: list[str], path: str, expected: int | None) -> None:
    assert IgnorePatterns(patterns).deciding_pattern(path) == expected


# --- a reference --------------------------------------------------------------------------------


def reference_match(pattern: str, path: str) -> bool:
    """Stars, question marks and `**` by trying every way to split the path."""
    if not pattern:
        return not path
    if pattern.startswith("**"):
        rest = pattern[3:] if pattern.startswith("**/") else pattern[2:]
        if not rest:
            return True
        starts = [0] + [i + 1 for i, c in enumerate(path) if c == "/"]
        return any(reference_match(rest, path[at:]) for at in starts)
    if pattern[0] == "*":
        end = path.find("/") if "/" in path else len(path)
        return any(reference_match(pattern[1:], path[at:]) for at in range(end + 1))
    if not path or (pattern[0] != path[0] and not (pattern[0] == "?" and path[0] != "/")):
        return False
    return reference_match(pattern[1:], path[1:])


def reference_excluded(patterns: list[str], path: str) -> bool:
    """One pattern at a time from the root down, each remembering whether it matched above."""
    parts = path.split("/")
    above = [False] * len(patterns)
    excluded = False
    for depth in range(1, len(parts) + 1):
        here = "/".join(parts[:depth])
        now = [False] * len(patterns)
        excluded = False
        for at, pattern in enumerate(patterns):
            negated = pattern.startswith("!")
            if above[at] or (
                negated == excluded and reference_match(pattern.removeprefix("!"), here)
            ):
                now[at] = True
                excluded = not negated
        above = now
    return excluded


PARTS = st.sampled_from(["a", "b", "ab", "*", "?", "a*", "*b", "**", "?b"])
PATTERNS = st.builds(
    lambda bang, parts: bang + "/".join(parts),
    st.sampled_from(["", "", "!"]),
    st.lists(PARTS, min_size=1, max_size=3),
)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map("/".join)


@given(st.lists(PATTERNS, max_size=5), st.lists(PATHS, min_size=1, max_size=6))
def test_same_as_the_reference(patterns: list[str], paths: list[str]) -> None:
    ignore = IgnorePatterns(patterns)
    for path in paths:
        assert ignore.excluded(path) is reference_excluded(patterns, path)


@given(st.lists(PATTERNS, max_size=5), PATHS, PATHS)
def test_what_may_be_pruned_holds_nothing(patterns: list[str], directory: str, below: str) -> None:
    ignore = IgnorePatterns(patterns)
    if ignore.may_prune(directory):
        assert ignore.excluded(f"{directory}/{below}")


@given(st.lists(PATTERNS, max_size=5), PATHS)
def test_the_deciding_pattern_explains_the_answer(patterns: list[str], path: str) -> None:
    ignore = IgnorePatterns(patterns)
    deciding = ignore.deciding_pattern(path)
    if deciding is None:
        assert not ignore.excluded(path)
    else:
        assert ignore.excluded(path) is not patterns[deciding].startswith("!")


@pytest.mark.parametrize("part", ["*a", "*[a-c]", "*?a", "a*", "*\\a"])
def test_many_stars_are_quick(part: str) -> None:
    start = time.perf_counter()
    assert not IgnorePatterns([part * 40 + "b"]).excluded("a" * 200)
    assert not match_glob(part * 40 + "b", "a" * 200)
    assert match_glob(part * 40 + "*", "aaaa" * 50)
    assert time.perf_counter() - start < 1


def test_twenty_thousand_paths_are_quick() -> None:
    ignore = IgnorePatterns(["**/*.log", "node_modules", "**/dist", "!keep/**", "*.tmp", "!x.tmp"])
    paths = [f"pkg{i % 100}/sub{i % 7}/file{i}.txt" for i in range(20_000)]
    start = time.process_time()
    assert not any(ignore.excluded(path) for path in paths)
    assert time.process_time() - start < 1.0
