"""The display on a real pseudo terminal, read back by a small terminal of our own."""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from minibuild.digest import Digest
from minibuild.events import Completed, Log, Planned, Remark, Started, Status, VertexInfo
from minibuild.progress.console import Console
from minibuild.progress.plain import Plain
from minibuild.progress.rawjson import RawJson
from minibuild.progress.select import choose
from minibuild.progress.trace import Renderer
from minibuild.progress.tty import Tty, shares
from tests.progress import events_sample as sample
from tests.progress.events_sample import COPY, FAIL, MAKE, T
from tests.support.waiting import PATIENCE_S

_TOKEN = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Screen:
    """What a terminal shows after some output: the rows, and where the cursor is."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows: list[str] = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        """Do what the text says; fail at a sequence that is not expected of progress."""
        end = 0
        for token in _TOKEN.finditer(text):
            assert token.start() == end, f"unexpected sequence {text[end : end + 10]!r}"
            end = token.end()
            _, number, final, cr, lf, words = token.groups()
            if cr:
                self.column = 0
            elif lf:
                self.row += 1
                if self.row == len(self.rows):
                    self.rows.append("")
            elif words:
                assert self.column + len(words) <= self.columns, f"too long a line: {words!r}"
                old = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = old[: self.column] + words + old[self.column + len(words) :]
                self.column += len(words)
            elif final == "A":
                self.row -= int(number)
                assert self.row >= 0, "the cursor went above what was written"
            elif final == "K":
                self.rows[self.row] = self.rows[self.row][: self.column]
            elif final == "J":
                del self.rows[self.row + 1 :]
                self.rows[self.row] = self.rows[self.row][: self.column]
            else:
                assert final in "mhl", token.group()
        assert end == len(text), f"unexpected sequence {text[end : end + 10]!r}"


class Window:
    """A pseudo terminal: `stream` is the program's end."""

    def __init__(self, columns: int, rows: int) -> None:
        self.master, slave = pty.openpty()
        # Raw: what is written is what is read, without \n becoming \r\n.
        mode = termios.tcgetattr(slave)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self.resize(columns, rows)
        self.screen = Screen(columns)
        # A terminal holds 4 KiB and then makes its writer wait, so somebody has to read all along.
        self._read = bytearray()
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def _drain(self) -> None:
        try:
            while data := os.read(self.master, 65536):
                self._read += data
        except OSError:  # the program's end was closed
            pass

    def read(self) -> str:
        """What was written since the last time."""
        # What was written before is there once this mark is. A ticker may write behind it.
        os.write(self.stream.fileno(), b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while (end := self._read.find(b"\0")) < 0:
            assert time.monotonic() < deadline, "nothing is read"
            time.sleep(0.001)
        found = bytes(self._read[:end])
        del self._read[: end + 1]
        return found.decode()

    def close(self) -> None:
        """Close both ends."""
        self.stream.close()
        self._reader.join()
        os.close(self.master)

    def look(self) -> list[str]:
        """The rows of the screen now."""
        self.screen.feed(self.read())
        assert self.screen.column == 0, "the cursor rests at the beginning of a line"
        return self.screen.rows[: self.screen.row]


@pytest.fixture
def window() -> Iterator[Window]:
    made = Window(60, 12)
    yield made
    made.close()


class Clock:
    """A time that the test moves."""

    def __init__(self) -> None:
        self.now = T

    def __call__(self) -> float:
        return self.now


def display(window: Window, clock: Clock) -> Tty:
    """A display whose frames are drawn when the test says so."""
    made = Tty(Console(window.stream), colours=False, clock=clock)
    made._ticker.close()
    return made


def test_running_steps_with_bars_and_last_words(window: Window) -> None:
    clock = Clock()
    tty = display(window, clock)
    for event in sample.build()[:4]:
        tty(event)
    tty(Started(MAKE, T))
    tty(Started(COPY, T))
    tty(Log(MAKE, 1, b"one\ntwo\n", T + 0.25))
    tty(Status(COPY, "transferring context", 2_000_000, 10_000_000, "B", T))
    clock.now = T + 2
    tty.tick()
    rows = window.look()
    assert rows[0] == "       0.0s  [internal] load build definition from Dockerfile"[:58] + "…"
    assert rows[1].startswith("       2.0s  [2/4] RUN make xxx") and rows[1].endswith("…")
    assert rows[2:4] == [" " * 13 + "0.250 one", " " * 13 + "0.250 two"]
    assert rows[4] == "       2.0s  [3/4] COPY . ."
    assert "20%" in rows[5] and "2.00M/10.0M" in rows[5]
    assert rows[6] == "       2.0s  1 of 6 steps done"
    tty.close()


def test_what_is_done_scrolls_away_and_the_rest_is_redrawn_in_place(window: Window) -> None:
    clock = Clock()
    tty = display(window, clock)
    tty(Planned((VertexInfo(MAKE, "make"), VertexInfo(COPY, "copy"))))
    tty(Started(MAKE, T))
    tty(Started(COPY, T))
    for frame in range(20):
        clock.now = T + frame / 10
        tty(Log(MAKE, 1, b"line %d\n" % frame, clock.now))
        tty.tick()
    assert window.look()[:7] == [
        "       1.9s  make",
        *(f"             1.{n}00 line 1{n}" for n in range(4, 10)),
    ]
    tty(Remark(MAKE, "stacked", clock.now))
    tty(Completed(MAKE, T + 2))
    tty.tick()
    assert window.look() == [
        "       2.0s  make",
        "             stacked",
        "       1.9s  copy",
        "       1.9s  1 of 2 steps done",
    ]
    tty(Completed(COPY, T + 2.5, cached=True))
    tty.close()
    assert window.look() == ["       2.0s  make", "             stacked", "     CACHED  copy"]


def test_a_line_that_a_program_draws_over_is_live(window: Window) -> None:
    clock = Clock()
    tty = display(window, clock)
    tty(Planned((VertexInfo(MAKE, "make"),)))
    tty(Started(MAKE, T))
    tty(Log(MAKE, 1, b"begin\n", T + 0.1))
    for data, now in (
        (b"10%", "0.200 10%"),
        (b"\r20%", "0.200 20%"),
        (b"\r\x1b[32m30%\x1b[0m\x1b[", "0.200 30%"),
        (b"K\r40%\r", "0.200 40%"),
    ):
        tty(Log(MAKE, 1, data, T + 0.2))
        clock.now += 0.1
        tty.tick()
        assert window.look()[1:3] == [" " * 13 + "0.100 begin", " " * 13 + now]
    tty(Log(MAKE, 2, b"beside\n", T + 0.3))
    clock.now += 0.1
    tty.tick()
    assert window.look()[3:5] == [" " * 13 + "0.300 beside", " " * 13 + "0.300 40%"]
    tty(Log(MAKE, 1, b"\rdone\n", T + 0.4))
    clock.now += 0.1
    tty.tick()
    assert " " * 13 + "0.400 done" in window.look()
    tty.close()


@pytest.mark.parametrize(
    ("wanted", "room", "given"),
    [
        ([], 5, []),
        ([6, 0], 10, [6, 0]),
        ([6, 6], 8, [4, 4]),
        ([1, 9, 9], 10, [1, 4, 5]),
        ([9, 9], 0, [0, 0]),
    ],
)
def test_shares(wanted: list[int], room: int, given: list[int]) -> None:
    assert shares(wanted, room) == given


def test_no_flicker(window: Window) -> None:
    """A frame is one write, erases no line before it is written, and equal ones are left out."""
    clock = Clock()
    tty = display(window, clock)
    tty(Started(MAKE, T))
    tty.tick()
    window.read()
    tty.tick()
    assert window.read() == ""
    clock.now = T + 1
    tty.tick()
    frame = window.read()
    assert frame.startswith("\x1b[?7l\x1b[2A\r") and frame.endswith("\x1b[J\x1b[?7h")
    assert "\x1b[2K" not in frame and "\x1b[2J" not in frame
    tty.close()


def test_close_after_an_interruption_leaves_only_what_is_done(window: Window) -> None:
    clock = Clock()
    tty = display(window, clock)
    tty(Planned((VertexInfo(MAKE, "make"), VertexInfo(FAIL, "fail"), VertexInfo(COPY, "copy"))))
    for digest in (MAKE, FAIL):
        tty(Started(digest, T))
    tty.tick()
    assert len(window.look()) == 3
    tty(Completed(FAIL, T + 1, error="exit code: 1"))
    tty(Completed(COPY, T + 1, cancelled=True))
    tty.close()
    tty.close()
    tty(Log(MAKE, 1, b"too late", T + 2))
    tty.tick()
    assert window.look() == ["      ERROR  fail"]


@pytest.mark.parametrize(("columns", "rows"), [(20, 4), (8, 2), (1, 1), (300, 60)])
def test_any_size(columns: int, rows: int) -> None:
    """Nothing is wider or higher than the window, however small that is."""
    window = Window(columns, rows)
    clock = Clock()
    tty = display(window, clock)
    names = [Digest(f"sha256:{n:064}") for n in range(30)]
    for name in names:
        tty(Started(name, T))
        tty(Log(name, 1, "漢字 wide\n".encode() * 3, T))
        tty(Status(name, "part", 1, 2, "B", T))
    clock.now = T + 5
    tty.tick()
    text = window.read()
    assert text.count("\n") <= max(rows - 1, 2)
    for line in re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text).split("\r\n"):
        assert len(line.strip("\r")) <= columns
    tty.close()
    window.close()


def test_a_narrower_window_breaks_the_lines_that_were_there(window: Window) -> None:
    clock = Clock()
    tty = display(window, clock)
    tty(Planned((VertexInfo(MAKE, "make " + "x" * 100),)))
    tty(Started(MAKE, T))
    tty.tick()
    window.read()
    window.resize(30, 12)
    clock.now = T + 1
    tty.tick()
    # 59 cells in 30 columns are two rows, and the line below is one.
    assert window.read().startswith("\x1b[?7l\x1b[3A\r")
    tty.close()


def test_the_ticker_draws_by_itself(window: Window) -> None:
    tty = Tty(Console(window.stream), colours=False)
    tty(Started(MAKE, time.time()))
    deadline = time.monotonic() + PATIENCE_S
    text = ""
    while "steps done" not in text and time.monotonic() < deadline:
        time.sleep(0.02)
        text += window.read()
    tty.close()
    assert "0 of 1 steps done" in text


def test_colours_only_where_wanted(window: Window) -> None:
    for colours in (False, True):
        tty = Tty(Console(window.stream), colours=colours)
        tty(Completed(COPY, T, cached=True))
        tty.close()
        assert ("\x1b[36m" in window.read()) is colours


@pytest.mark.parametrize(
    ("mode", "term", "kind"),
    [
        ("auto", "xterm", Tty),
        ("tty", "xterm", Tty),
        ("auto", "dumb", Plain),
        ("tty", "dumb", Plain),
        ("tty", "", Plain),
        ("plain", "xterm", Plain),
        ("rawjson", "xterm", RawJson),
        ("quiet", "xterm", Renderer),
    ],
)
def test_selection(window: Window, mode: str, term: str, kind: type) -> None:
    made = choose(mode, Console(window.stream), term, colours=False)  # type: ignore[arg-type]
    assert type(made) is kind
    made.close()
    assert window.read() in ("", "\x1b[?7l\r\x1b[J\x1b[?7h")


def test_a_file_is_no_screen(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as stream:
        assert type(choose("tty", Console(stream), "xterm", colours=True)) is Plain
    assert type(choose("auto", Console(stream), "xterm", colours=True)) is Plain  # closed
