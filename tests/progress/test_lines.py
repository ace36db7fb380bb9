"""Lines cut from the output of processes: anywhere, with anything in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.progress.lines import LineCutter, LinePart, clean, shortened, without_colours

WHOLE = [
    (b"one\ntwo\n", ["one", "two"]),
    (b"no end", ["no end"]),
    (b"\n\n", ["", ""]),
    (b"dos\r\n", ["dos"]),
    (b"10%\r20%\r30%\n", ["30%"]),
    (b"10%\r20%", ["20%"]),
    (b"10%\r20%\r", ["20%"]),
    (b"\x1b[2J\x1b[1;1Hhome", ["home"]),
    (b"\x1b]0;title\x07text", ["text"]),
    (b"\x1b]8;;http://e.x\x1b\\link\x1b]8;;\x1b\\", ["link"]),
    (b"bell\x07 back\x08 nul\x00 del\x7f", ["bell back nul del"]),
    (b"a\tb", ["a\tb"]),
    (b"\x1b[32mgreen\x1b[0m", ["\x1b[32mgreen\x1b[0m"]),
    ("漢字 é\n".encode(), ["漢字 é"]),
    (b"\xff\xfe bad", ["\ufffd\ufffd bad"]),
    ("\u009b31m c1\u0085".encode(), ["31m c1"]),
    (b"\x1bc\x1b(B reset", [" reset"]),
    (b"lone \x1b", ["lone "]),
]


def lines(pieces: list[LinePart]) -> list[str]:
    """Whole lines again."""
    found, text, pending = [], "", False
    for piece in pieces:
        text, pending = text + piece.text, True
        if piece.ends:
            found.append(text)
            text, pending = "", False
    return [*found, text] if pending else found


@pytest.mark.parametrize(("data", "expected"), WHOLE)
def test_whole(data: bytes, expected: list[str]) -> None:
    cutter = LineCutter()
    assert lines([*cutter.feed(data), *cutter.finish()]) == expected


@pytest.mark.parametrize(("data", "expected"), WHOLE)
def test_byte_by_byte(data: bytes, expected: list[str]) -> None:
    """However a pipe cuts it, the same lines come out."""
    cutter = LineCutter()
    pieces = [piece for byte in data for piece in cutter.feed(bytes((byte,)))]
    found = lines([*pieces, *cutter.finish()])
    if b"\r" in data and not data.endswith(b"\r\n"):
        assert found[-1] == expected[-1]  # what was shown before the carriage return stays shown
    else:
        assert found == expected


def test_a_partial_line_is_given_at_once() -> None:
    """A prompt or a row of dots must not wait for its line to end."""
    assert list(LineCutter().feed(b"Proceed? ")) == [LinePart("Proceed? ", False)]


def test_a_rewritten_line_waits() -> None:
    """Of a hundred states of a progress bar only the last is of use in a log."""
    cutter = LineCutter()
    assert [piece for n in range(99) for piece in cutter.feed(b"\r%d%%" % n)] == []
    assert list(cutter.feed(b"\n")) == [LinePart("98%", True)]


def test_memory_is_bounded_while_a_line_is_rewritten() -> None:
    cutter = LineCutter()
    for n in range(1000):
        list(cutter.feed(b"\r%0100d" % n))
    assert len(cutter._held) < 300


@given(st.binary())
def test_nothing_dangerous_survives(data: bytes) -> None:
    cutter = LineCutter()
    for piece in [*cutter.feed(data), *cutter.finish()]:
        text = without_colours(piece.text)
        assert all(c == "\t" or (c >= " " and not "\x7f" <= c <= "\x9f") for c in text), text


@given(st.text())
def test_clean_is_stable(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(
    st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=["Cc", "Cs"]))),
    st.integers(1, 7),
)
def test_plain_text_is_kept(texts: list[str], size: int) -> None:
    data = "".join(f"{text}\n" for text in texts).encode()
    cutter = LineCutter()
    pieces: list[LinePart] = []
    for start in range(0, len(data), size):
        pieces += cutter.feed(data[start : start + size])
    assert lines(pieces) == texts


def test_long_lines() -> None:
    assert shortened("x" * 2000) == "x" * 2000
    long = shortened("begin" + "x" * 10_000 + "end")
    assert long.startswith("beginx") and long.endswith("xend")
    assert " ... 8008 characters ... " in long
