"""The log of a build."""

import io
from pathlib import Path

import pytest

from minibuild.events import Completed, Event, Log, Planned, Started, Status, VertexInfo
from minibuild.progress.console import Console
from minibuild.progress.plain import PATIENCE_S, SILENCE_S, Plain
from tests.progress import events_sample as sample
from tests.progress.events_sample import BASE, COPY, MAKE, T

GOLDEN = Path(__file__).parent / "golden"
NAMES = Planned((VertexInfo(MAKE, "make"), VertexInfo(COPY, "copy"), VertexInfo(BASE, "base")))


def shown(events: list[Event], *, colours: bool = False, close: bool = True) -> str:
    """The log of `events`."""
    out = io.StringIO()
    plain = Plain(Console(out), colours=colours, clock=lambda: T, ticker=False)
    for event in events:
        plain(event)
    if close:
        plain.close()
    return out.getvalue()


def test_golden(golden) -> None:  # type: ignore[no-untyped-def]
    golden(GOLDEN / "plain.txt", shown(sample.build()))


def test_colours_of_programs_are_kept_on_a_terminal() -> None:
    assert "\x1b[31mwarning\x1b[0m: odd" in shown(sample.build(), colours=True)
    assert "\x1b" not in shown(sample.build())


def test_the_floor_is_kept_while_its_holder_talks() -> None:
    log = shown(
        [
            NAMES,
            Started(MAKE, T),
            Started(COPY, T),
            Log(MAKE, 1, b"m1\n", T + 0.1),
            Log(COPY, 1, b"c1\n", T + 0.2),
            Log(MAKE, 1, b"m2\n", T + 0.3),
            Completed(MAKE, T + 0.4),
            Log(COPY, 1, b"c2\n", T + 0.5),
        ]
    )
    assert log == (
        "#1 make\n#1 0.100 m1\n#1 0.300 m2\n#1 DONE 0.4s\n\n#2 copy\n#2 0.200 c1\n#2 0.500 c2\n"
    )


def test_the_floor_goes_to_another_when_its_holder_is_silent() -> None:
    log = shown(
        [
            NAMES,
            Started(MAKE, T),
            Log(MAKE, 1, b"m1 unfinished", T),
            Started(COPY, T),
            Log(COPY, 1, b"c1\n", T + SILENCE_S + 0.1),
        ]
    )
    assert log == "#1 make\n#1 0.000 m1 unfinished\n#1 ...\n\n#2 copy\n#2 1.100 c1\n"


def test_nobody_waits_for_ever() -> None:
    events: list[Event] = [NAMES, Started(MAKE, T), Started(COPY, T), Log(COPY, 1, b"c\n", T)]
    events += [Log(MAKE, 1, b"m\n", T + 0.5 * n) for n in range(1, 20)]
    head, _, tail = shown(events).partition("#2 copy\n#2 0.000 c\n")
    assert head.count("0 m\n") == int(PATIENCE_S / 0.5) + 1
    assert tail.startswith("#2 ...\n\n#1 make\n")


def test_silence_is_noticed_without_events() -> None:
    """The ticker's call: a line must not stay hidden because nothing else happens."""
    out, now = io.StringIO(), [T]
    plain = Plain(Console(out), clock=lambda: now[0], ticker=False)
    for event in (NAMES, Started(MAKE, T), Started(COPY, T), Log(COPY, 1, b"c1\n", T)):
        plain(event)
    plain.tick()
    assert "c1" not in out.getvalue()
    now[0] = T + SILENCE_S + 0.1
    plain.tick()
    assert out.getvalue().endswith("#2 copy\n#2 0.000 c1\n")


def test_a_long_transfer_is_told_again_after_a_while() -> None:
    now = [T]
    out = io.StringIO()
    plain = Plain(Console(out), clock=lambda: now[0], ticker=False)
    plain(NAMES)
    plain(Started(BASE, T))
    for second in range(13):
        now[0] = T + second
        plain(Status(BASE, "layer", second * 1000, 20000, "B", T))
    lines = [line for line in out.getvalue().splitlines() if "layer" in line]
    assert lines == ["#1 layer 5kB / 20kB 5.0s", "#1 layer 10kB / 20kB 10.0s"]


def test_what_waits_comes_out_at_the_end() -> None:
    log = shown([NAMES, Started(MAKE, T), Started(COPY, T), Log(COPY, 1, b"c", T)])
    assert log == "#1 make\n#1 ...\n\n#2 copy\n#2 0.000 c\n"


class Closing(io.StringIO):
    """A pipe whose reader left after a while."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, text: str) -> int:
        self.room -= 1
        if self.room < 0:
            raise BrokenPipeError
        return super().write(text)


@pytest.mark.parametrize("room", range(5))
def test_a_reader_that_leaves_does_not_stop_the_build(room: int) -> None:
    plain = Plain(Console(Closing(room)), ticker=False)
    for event in sample.build():
        plain(event)
    plain.close()
    assert plain.trace.failed
