"""The one way out: no control character of a text passes, all of our own do."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.progress.console import RESET, Console, ControlSequence, painted, visible
from minibuild.progress.lines import coloured

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def written(*parts: str | ControlSequence) -> str:
    """What arrives on the stream."""
    out = io.StringIO()
    Console(out).write(*parts)
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ü 漢字 👩‍🚀", "plain ü 漢字 👩‍🚀"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("a\x9b31mb", r"a\x9b31mb"),
        ("a\rb\bc\x7f", r"a\rb\x08c\x7f"),
        ("one\ntwo\tthree", r"one\ntwo\tthree"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        ("byte \udcff, half \ud800", r"byte \xff, half \ud800"),
        ("line\u2028para\u2029", r"line\u2028para\u2029"),
    ],
)
def test_a_text_on_one_line(text: str, expected: str) -> None:
    assert visible(text) == expected == visible(expected)
    if "\n" not in text:
        assert written(text) == expected


def test_lines_and_tabs_of_a_text_stay() -> None:
    assert written("a\x1b\tb\r\nc\x07\n") == "a\\x1b\tb\\r\nc\\x07\n"


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_unseen_passes(text: str) -> None:
    assert UNSEEN.search(written(text)) is None
    assert written(text, "\x1b[31m", text).count("\x1b") == 0


def test_our_own_sequences_pass() -> None:
    assert written(*painted("\x1b[2Jerror:", "31"), " x") == "\x1b[31m\\x1b[2Jerror:\x1b[0m x"


def test_colours_of_a_process_pass_and_end() -> None:
    assert coloured("plain") == ("plain",)
    assert (
        written(*coloured("\x1b[31mred\x1b[1m bold")) == "\x1b[31mred\x1b[1m bold" + RESET.sequence
    )


def test_a_stream_that_knows_fewer_characters() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Console(stream).write("é\x1b")
    stream.flush()
    assert raw.getvalue() == rb"\xe9\x1b"
