"""Words of an instruction: each knows where it stands in the line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minibuild_dockerfile.words import piece, split_flags, split_separated, split_words

WORD = st.text("ab=$", min_size=1, max_size=4)
WORDS = st.lists(st.tuples(st.sampled_from([" ", "\t", "  "]), WORD), max_size=4)
OFFSETS = st.integers(0, 50)


@given(WORDS, OFFSETS)
def test_words_are_where_they_say(words: list[tuple[str, str]], offset: int) -> None:
    rest = piece("".join(gap + word for gap, word in words).strip(), offset)
    line = "#" * offset + rest.text
    for found in (split_separated(rest), split_words(rest, "\\")):
        assert [one.text for one in found] == [word for _, word in words]
        assert [line[one.offset : one.end] for one in found] == [word for _, word in words]


@given(WORDS, WORDS, OFFSETS)
def test_flags_are_where_they_say(
    flags: list[tuple[str, str]], words: list[tuple[str, str]], offset: int
) -> None:
    behind = "".join(gap + word for gap, word in words)
    rest = piece("".join(f"{gap}--{word}" for gap, word in flags) + behind, offset)
    line = "#" * offset + rest.text
    pieces, after = split_flags(rest)
    assert [one.text for one in pieces] == [f"--{word}" for _, word in flags]
    assert [line[one.offset : one.end] for one in pieces] == [one.text for one in pieces]
    assert after.text == behind.strip() == line[after.offset : after.end]


@pytest.mark.parametrize(
    ("text", "flags", "after"),
    [
        ("--a -- --b", ["--a"], "--b"),
        ("--", [], ""),
        ("--a='x y' c", ["--a=x y"], "c"),
        ('--a="x y"z c', ["--a=x yz"], "c"),
        ('--a="it\'s" c', ["--a=it's"], "c"),
        ("--a=x\\ y c", ["--a=x y"], "c"),
        ("--a=x\\", ["--a=x"], ""),
        ("--a='x y", ["--a=x y"], ""),
        ("-a --b", [], "-a --b"),
    ],
)
def test_quotes_of_flags(text: str, flags: list[str], after: str) -> None:
    pieces, rest = split_flags(piece(text, 7))
    assert ([one.text for one in pieces], rest.text) == (flags, after)
    # A flag ends where the next word may begin, whatever its quotes took.
    assert all(text[one.end - 7 :][:1] in ("", " ") for one in pieces)
