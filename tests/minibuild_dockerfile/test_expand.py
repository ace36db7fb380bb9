"""Words and variables: tables of what BuildKit does, and dash as a second opinion."""

import re
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.expand import process_heredoc, process_word
from minibuild_dockerfile.patterns import replaced, without_prefix, without_suffix

from minibuild.errors import Span

SPAN = Span("Dockerfile", 3, 4)
VARIABLES = {
    "A": "aa",
    "E": "",
    "S": "a b  c",
    "P": "/usr/local/lib/libx.so.1",
    "F": "archive.tar.gz",
    "G": "a*b?c*d",
    "B": "foobarbaz",
    "D": "1.2.3",
    "Ünï": "letters",
    "_x1": "under",
    "2": "two",
    "N": "one\ntwo",
}

WORDS = [
    ("plain", "plain"),
    ("$A", "aa"),
    ("${A}", "aa"),
    ("x$A.y", "xaa.y"),
    ("$Ünï$_x1", "lettersunder"),
    ("$2x", "twox"),
    ("$10", ""),
    ("$", "$"),
    ("cost $ 5", "cost $ 5"),
    ("$.", "$."),
    ("$$A", "A"),
    ("[$@$*$#$?$!$-]", "[]"),
    ("$NOPE", ""),
    # quotes and escapes
    ("'$A'", "$A"),
    ('"$A"', "aa"),
    ("\\$A", "$A"),
    ("\\${A}", "${A}"),
    ('"\\$A"', "$A"),
    ('"\\""', '"'),
    ('"a\\nb"', "a\\nb"),
    ("a\\nb", "anb"),
    ("'a\\'", "a\\"),
    ("a\\\\$A", "a\\aa"),
    ("five\\ six", "five six"),
    ("a\"b c\"d'e f'g", "ab cde fg"),
    ("don''t", "dont"),
    ('"it\'s"', "it's"),
    ("end\\", "end"),
    ("", ""),
    ('""', ""),
    # set, unset, empty
    ("${A:-d}${E:-d}${U:-d}", "aadd"),
    ("[${A-d}${E-d}${U-d}]", "[aad]"),
    ("[${A:+p}${E:+p}${U:+p}]", "[p]"),
    ("[${A+p}${E+p}${U+p}]", "[pp]"),
    ("${A:?no}${A?no}${E?no}", "aaaa"),
    ("${E:-${U:-x${A}y}}", "xaay"),
    ('${U:-"quoted } word"}', "quoted } word"),
    ("${U:-a\\}b}", "a}b"),
    ("${U:-'$A'}", "$A"),
    ('"${E:-$A-$A}"', "aa-aa"),
    ("${U:-}", ""),
    ("${A:+[$A]}", "[aa]"),
    ("[${+x}${/a/b}${%z}]", "[]"),
    # prefixes and suffixes
    ("${P#*/}", "usr/local/lib/libx.so.1"),
    ("${P##*/}", "libx.so.1"),
    ("${P#/usr}", "/local/lib/libx.so.1"),
    ("${P#nope}", "/usr/local/lib/libx.so.1"),
    ("${P#/???/}", "local/lib/libx.so.1"),
    ("${P#$NOPE}", "/usr/local/lib/libx.so.1"),
    ("${F%.*}", "archive.tar"),
    ("${F%%.*}", "archive"),
    ("${F%zip}", "archive.tar.gz"),
    ("${F%}", "archive.tar.gz"),
    ("${F##}", "archive.tar.gz"),
    ("${B%b*}|${B%%b*}|${B%?}", "foobar|foo|foobarba"),
    ("${G#a\\*}", "b?c*d"),
    ("${G%\\**}", "a*b?c"),
    ("${NOPE#x}", ""),
    ("${B#[f]}", "foobarbaz"),
    # replacement
    ("${B/ba/XY}|${B//ba/XY}", "fooXYrbaz|fooXYrXYz"),
    ("${D//./_}|${D/./}", "1_2_3|12.3"),
    ("${B/b*/-}", "foo-"),
    ("${B//o/0}", "f00barbaz"),
    ("${B//nope/x}", "foobarbaz"),
    ("${P//\\//-}", "-usr-local-lib-libx.so.1"),
    ("${G//\\*/-}", "a-b?c-d"),
    ("${G/\\?/!}", "a*b!c*d"),
    ("${B//b/$A}", "fooaaaraaaz"),
    ("${B//*/x}", "x"),
    ("${B//?/.}", "........."),
    ("${B/o/\\1$2}", "f\\1twoobarbaz"),
    ("${NOPE/a/b}", ""),
    ("${N/*/x}", "x\ntwo"),
]


@pytest.mark.parametrize(("word", "text"), WORDS)
def test_word(word: str, text: str) -> None:
    assert process_word(word, VARIABLES, SPAN).text == text


ERRORS = [
    ("${A", "missing '}'"),
    ("${", "missing '}'"),
    ("${A:-x", "missing '}'"),
    ("${}", "bad substitution"),
    ("${ A}", "unsupported modifier ( ) in substitution"),
    ("${{A}}", "bad substitution"),
    ("${:A}", "bad substitution"),
    ("${A:=y}", "unsupported modifier (:=) in substitution"),
    ("${A=y}", "unsupported modifier (=) in substitution"),
    ("${A:#y}", "unsupported modifier (:#) in substitution"),
    ("${A^^}", "unsupported modifier (^) in substitution"),
    ("${U:?must be given}", "U: must be given"),
    ("${U?}", "U: is not allowed to be unset"),
    ("${E:?}", "E: is not allowed to be empty"),
    ("${A:-${U:?deep}}", "U: deep"),
    ("${D//\\./-}", "invalid pattern (\\.) in substitution: invalid escape '\\.'"),
    ("${D#a\\b}", "invalid escape '\\b'"),
    ("${D%a\\b}", "invalid pattern (a\\b) in substitution: invalid escape '\\b'"),
    ("${A/x}", "missing '/' in ${}"),
    ("${A/x/y", "missing '}'"),
    ('"abc', "looking for matching double-quote"),
    ("it's", "looking for matching single-quote"),
    ("${A:-" * 60 + "}" * 60, "nested more than 50 deep"),
]


@pytest.mark.parametrize(("word", "message"), ERRORS)
def test_word_error(word: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        process_word(word, VARIABLES, SPAN)
    assert message in caught.value.message
    assert caught.value.message.startswith("failed to process ")
    assert caught.value.span == SPAN


def test_error_shows_the_word_as_buildkit_does() -> None:
    with pytest.raises(DockerfileError) as caught:
        process_word('"${NOPE:?must be given}"', {}, SPAN)
    assert caught.value.message == (
        'failed to process "\\"${NOPE:?must be given}\\"": NOPE: must be given'
    )


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("", []),
        ("  ", []),
        ("a b", ["a", "b"]),
        ("$S", ["a", "b", "c"]),
        ("x${S}y", ["xa", "b", "cy"]),
        ('"$S"', ["a b  c"]),
        ("'a b'c d", ["a bc", "d"]),
        ("a\\ b c", ["a b", "c"]),
        ('"" a', ["a"]),
        ("$E $A", ["aa"]),
        ("${U:-8080 9090}/udp", ["8080", "9090/udp"]),
        ("\tz\xa0y", ["z", "y"]),
    ],
)
def test_words(word: str, words: list[str]) -> None:
    assert list(process_word(word, VARIABLES, SPAN).words) == words


@pytest.mark.parametrize(
    ("word", "text"),
    [("C:\\dir", "C:\\dir"), ("`$A", "$A"), ('"`"`$A"', '"$A'), ("``", "`"), ("\\$A", "\\aa")],
)
def test_backtick_as_escape(word: str, text: str) -> None:
    assert process_word(word, VARIABLES, SPAN, "`").text == text


def test_heredoc_keeps_quotes() -> None:
    written = "hi $A ${U:-d} \\$A \"q $A\" 'it $A' \\n\nback\\\\slash `x` << $(y)\n"
    text = process_heredoc(written, VARIABLES, SPAN).text
    assert text == "hi aa d $A \"q aa\" 'it aa' n\nback\\slash `x` << $(y)\n"


def test_names_used_and_unset() -> None:
    found = process_word("$A ${U} ${V:-$W} ${E:+x} ${X#y} ${S:-$Y} '$Q' \\$R", VARIABLES, SPAN)
    assert found.used == {"A", "E", "S"}
    assert found.unset == {"U", "V", "W", "X", "Y"}  # V too, though it has a default


TEXT = st.text("ab*/.", max_size=8)
ATOM = st.sampled_from(["$A", "${A}", "$E", "$U", "a", "b", ".", "/", "*", "x y", "\\$", "\\\\"])
PATTERN = st.lists(
    st.sampled_from(["a", "b", ".", "/", "*", "?", "\\*", "\\?", "\\\\"]), max_size=5
)


def braces(word: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Substitutions around words."""
    name = st.sampled_from("AEU")
    modifier = st.sampled_from([":-", "-", ":+", "+"])
    substitution = st.builds("${{{}{}{}}}".format, name, modifier, word)
    pattern = PATTERN.map("".join)
    sign = st.sampled_from(["#", "##", "%", "%%"])
    # An unset variable is the empty text in both; a pattern is compared where it can match.
    cut = st.builds("${{{}{}{}}}".format, st.sampled_from("AE"), sign, pattern)
    return st.lists(st.one_of(ATOM, substitution, cut, word), max_size=4).map("".join)


def by_dash(word: str, variables: dict[str, str]) -> str:
    """The word as dash expands it in an assignment, where it is not split."""
    script = f'{word_free_of_globs(word)}\nprintf %s. "$RESULT"'
    done = subprocess.run(
        ["dash", "-f", "-c", script], env=variables, capture_output=True, check=True
    )
    return done.stdout.decode().removesuffix(".")


def word_free_of_globs(word: str) -> str:
    return "RESULT=" + word


@settings(max_examples=150, deadline=None)
@given(braces(braces(ATOM)), TEXT)
def test_dash_agrees(word: str, value: str) -> None:
    """What both know means the same in both: an assignment in dash is one word."""
    word = word.replace("x y", '"x y"')
    variables = {"A": value, "E": ""}
    assert process_word(word, variables, SPAN).text == by_dash(word, variables)


@given(TEXT, PATTERN.map("".join))
def test_cutting_leaves_an_end(value: str, pattern: str) -> None:
    for greedy in (False, True):
        assert value.endswith(without_prefix(value, pattern, greedy))
        assert value.startswith(without_suffix(value, pattern, greedy))
    assert len(without_prefix(value, pattern, True)) <= len(without_prefix(value, pattern, False))


@given(TEXT, st.text("ab/.", min_size=1, max_size=3), TEXT)
def test_replacing_a_literal_is_str_replace(value: str, pattern: str, by: str) -> None:
    assert replaced(value, pattern, by, every=True) == value.replace(pattern, by)
    assert replaced(value, pattern, by, every=False) == value.replace(pattern, by, 1)


PIECES = st.lists(st.sampled_from(["a", "b", "\n", "ab", "*", "?", "\\*"]), max_size=5).map("".join)


@settings(max_examples=400)
@given(st.text("ab*\n", max_size=12), PIECES)
def test_replacing_is_what_a_regular_expression_does(value: str, pattern: str) -> None:
    expression = "".join(
        {"*": ".*", "?": ".", "\\*": r"\*"}.get(piece, piece)
        for piece in re.findall(r"\\\*|.", pattern, re.DOTALL)
    )
    found = [match.span() for match in re.finditer(expression, value)]
    # Go, unlike Python, has no empty match right behind another match.
    found = [(a, b) for at, (a, b) in enumerate(found) if a < b or not at or found[at - 1][1] < a]
    expected, done = "", 0
    for begin, end in found:
        expected, done = expected + value[done:begin] + "-", end
    assert replaced(value, pattern, "-", every=True) == expected + value[done:]
    first = re.sub(expression, "-", value, count=1)
    assert replaced(value, pattern, "-", every=False) == first


def test_patterns_cost_little() -> None:
    started = time.process_time()
    assert without_prefix("a" * 20_000, "*a" * 20 + "b", False) == "a" * 20_000
    assert without_suffix("a" * 20_000, "b" + "*a" * 20, True) == "a" * 20_000
    assert replaced("a" * 300, "a*a*a*a*a*a*b", "", True) == "a" * 300
    assert replaced("a" * 100_000, "a*b", "", True) == "a" * 100_000
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        ("", "*", "-"),
        ("\nx", "*x", "\n-"),
        ("a\nb", "*", "-\n-"),
        ("a**b", "a**b", "-"),
        ("aXbYb\nab", "a*b", "-\n-"),
    ],
)
def test_where_a_star_matches(value: str, pattern: str, expected: str) -> None:
    """Not over the end of a line; and once in nothing at all."""
    assert replaced(value, pattern, "-", every=True) == expected


def test_replacements_have_a_limit() -> None:
    assert replaced("aa", "a", "bb", True, most=4) == "bbbb"
    with pytest.raises(OverflowError):
        replaced("aa", "a", "bb", True, most=3)


@pytest.mark.parametrize("length", [10, 1000, 1001])
def test_what_is_shown_of_a_word(length: int) -> None:
    """All of one that is short, as it is written."""
    word = "é" * (length - 2) + "${"
    shown = word if length <= 1000 else f"{word[:1000]}..."
    with pytest.raises(DockerfileError, match=re.escape(f'failed to process "{shown}": ')):
        process_word(word, {}, SPAN)
