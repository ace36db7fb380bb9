"""Lists of ignore patterns, against tables and a reference without regular expressions."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.errors import DefinitionError
from minibuild.graph import ignore as module
from minibuild.graph.ignore import IgnorePatterns
from minibuild.graph.pattern import match_glob


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
        (["a[bc]d"], "acd", True),
        (["*[bc]d"], "xcd", True),
        (["*[bc]d"], "xd", False),
        ([r"*\*b"], "x*b", True),
        ([r"*\*b"], "xb", False),
        ([r"*\b"], "xb", True),
        ([r"\d"], "d", False),
        ([r"\d"], "7", True),
        ([r"*\d"], "x7", True),
        ([r"*\dx"], "a7x", True),
        ([r"*\dx"], "adx", False),
        ([r"a\wc"], "abc", True),
        ([r"a\Wc"], "abc", False),
        ([r"a\_\-\ c"], "a_- c", True),
        (["*]b"], "x]b", True),
        (["a]*"], "a]b", True),
        (["**/x*"], "p/q/xy", True),
        (["**/x*"], "p/qx/y", False),
        (["**/*x"], "p/qx/y", True),
        (["**/x/y*"], "p/x/yz", True),
        (["**/x/y*"], "x/yz", True),
        (["a*/b*c/d"], "ax/bc/d/e", True),
        (["a*", "!ab*", "abc*", "!abcd*"], "abcde", False),
        (["a*", "!ab*", "abc*", "!abcd*"], "abcxe", True),
        (["*", "!*b", "*ab", "!?ab"], "xab", False),
    ],
)
def test_excluded(patterns: list[str], path: str, expected: bool) -> None:
    assert IgnorePatterns(patterns).excluded(path) is expected


@pytest.mark.parametrize("pattern", [r"build\output", r"\é", "!a\\"])
def test_a_backslash_before_a_letter_that_has_no_meaning(pattern: str) -> None:
    """Someone meant a directory."""
    with pytest.raises(DefinitionError, match="syntax error in pattern"):
        IgnorePatterns([pattern]).excluded("x")


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


PARTS = st.sampled_from(["a", "b", "ab", "*", "?", "a*", "*b", "**", "?b", "a?", "*a*", "a*b"])
PATTERNS = st.builds(
    lambda bang, parts: bang + "/".join(parts),
    st.sampled_from(["", "", "!"]),
    st.lists(PARTS, min_size=1, max_size=3),
)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize("pattern", ["**/**/a", "a**/b", "**/*/**/a", "?**/b"])
def test_what_a_double_star_eats_has_no_slash_to_keep(pattern: str) -> None:
    """`**/` stands for no directory, too: then what follows it is at the beginning, or joined."""
    paths = ["a", "b/a", "ab", "a/b", "ab/a", "b"]
    ignore = IgnorePatterns([pattern])
    for path in paths:
        assert ignore.excluded(path) is reference_excluded([pattern], path)


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
    start = time.thread_time()
    assert not IgnorePatterns([part * 40 + "b"]).excluded("a" * 200)
    assert not match_glob(part * 40 + "b", "a" * 200)
    assert match_glob(part * 40 + "*", "aaaa" * 50)
    assert time.thread_time() - start < 1


def test_twenty_thousand_paths_are_quick() -> None:
    ignore = IgnorePatterns(["**/*.log", "node_modules", "**/dist", "!keep/**", "*.tmp", "!x.tmp"])
    paths = [f"pkg{i % 100}/sub{i % 7}/file{i}.txt" for i in range(20_000)]
    start = time.process_time()
    assert not any(ignore.excluded(path) for path in paths)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("pattern", ["**/f", "!**/d/f", "**/f*g"])
def test_each_directory_on_the_way_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """However deep it goes: a thousand directories in each other took a minute."""
    looked: list[str] = []
    runs = module._Index.runs
    monkeypatch.setattr(
        module._Index, "runs", lambda self, path: looked.append(path) or runs(self, path)
    )
    ignore = IgnorePatterns(["*", pattern])
    paths = ["d" + "/d" * depth for depth in range(300)]
    for path in paths:
        assert ignore.excluded(path)
    assert len(looked) < 3 * len(paths)
    assert ignore.excluded(f"{paths[-1]}/f") is not pattern.startswith("!")


@pytest.mark.parametrize("line", ["name{}", "**/name{}", "dir/name{}*", "**/name{}*", "*name{}"])
@pytest.mark.parametrize("bang", ["", "!"])
def test_of_forty_thousand_lines_few_are_tried(
    monkeypatch: pytest.MonkeyPatch, line: str, bang: str
) -> None:
    tried: list[str] = []
    matches = module._Wild.matches
    monkeypatch.setattr(
        module._Wild, "matches", lambda self, path: bool(tried.append(path)) or matches(self, path)
    )
    lines = [bang * (i % 2) + line.format(i) for i in range(40_000)]
    ignore = IgnorePatterns([*lines, "dir/last"])
    assert ignore.excluded("dir/last") and ignore.excluded("dir/last/file")
    assert not ignore.excluded("dir/other/file")
    assert ignore.may_prune("dir/last") is ("!" not in bang or not line.startswith("**"))
    assert len(tried) < 20


def test_the_line_that_decides_is_found_in_a_long_file() -> None:
    lines = [f"{'!' * (i % 2)}**/name{i}*" for i in range(40_000)]
    assert IgnorePatterns(lines).deciding_pattern("a/name39998/b") == 39998


def test_compiled_patterns_are_kept() -> None:
    kept = module.compiled(("a", "!b"))
    assert kept is module.compiled(("a", "!b")) and kept.excluded("a")


def test_lines_of_spaces_are_no_patterns() -> None:
    """`clean` would make the directory itself of them."""
    assert not IgnorePatterns(["", "  ", "\t"])
    assert IgnorePatterns(["", "a"]).deciding_pattern("a") == 1
