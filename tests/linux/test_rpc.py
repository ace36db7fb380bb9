"""Calls to another process: values of any size, open files, events, errors, and ends."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minibuild.errors import Cancelled, DefinitionError, Span
from minibuild.linux.channel import pair
from minibuild.linux.rpc import MAX_FILES, Call, Callee, Caller, PeerGone, portable
from tests.support.descriptors import open_descriptors, opened_since

LARGE = "x" * 1_000_000


class Other:
    """A process that answers calls with what `answer` says, until there are no more."""

    def __init__(self, answer: Callable[[Callee, Call], None]) -> None:
        ours, theirs = pair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            callee = Callee(theirs)
            try:
                while (call := callee.next()) is not None:
                    answer(callee, call)
            finally:
                os._exit(0)
        theirs.close()
        self.caller = Caller(ours)

    def end(self) -> None:
        self.caller.close()
        os.waitpid(self.pid, 0)


@pytest.fixture
def other() -> Iterator[Callable[[Callable[[Callee, Call], None]], Other]]:
    made: list[Other] = []

    def start(answer: Callable[[Callee, Call], None]) -> Other:
        made.append(Other(answer))
        return made[-1]

    yield start
    for one in made:
        one.end()


Start = Callable[[Callable[[Callee, Call], None]], Other]


def unexpected(event: Any) -> None:
    pytest.fail(f"{event} was sent")


@pytest.mark.parametrize("value", [None, (), {"a": (1, b"\0")}, LARGE], ids=lambda v: str(v)[:20])
def test_values_of_any_size_go_there_and_back(other: Start, value: object) -> None:
    caller = other(lambda callee, call: callee.result(call.value)).caller
    before = open_descriptors()
    for _ in range(3):
        assert caller.call(value, on_event=unexpected) == value
    assert not opened_since(before)


@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
def test_open_files_go_with_a_call(other: Start, tmp_path: Path, value: str) -> None:
    def answer(callee: Callee, call: Call) -> None:
        callee.result([os.pread(file, 10, 0).decode() for file in call.files])

    files = []
    for number in range(MAX_FILES):
        (tmp_path / str(number)).write_text(f"file {number}")
        files.append(os.open(tmp_path / str(number), os.O_RDONLY))
    try:
        found = other(answer).caller.call(value, files, on_event=unexpected)
    finally:
        for file in files:
            os.close(file)
    assert found == [f"file {number}" for number in range(MAX_FILES)]


def test_events_come_before_the_answer_and_in_order(other: Start) -> None:
    def answer(callee: Callee, call: Call) -> None:
        for number in range(100):
            callee.event((number, LARGE if number % 50 == 0 else ""))
        callee.result("done")

    seen: list[int] = []
    result = other(answer).caller.call(0, on_event=lambda event: seen.append(event[0]))
    assert result == "done" and seen == list(range(100))


def test_an_error_is_raised_here(other: Start) -> None:
    error = DefinitionError("wrong", hint="do it right", span=Span("Dockerfile", 2, 3))

    def answer(callee: Callee, call: Call) -> None:
        if call.value == "again":
            callee.result("fine")
        callee.error(error)

    caller = other(answer).caller
    with pytest.raises(DefinitionError, match="wrong") as caught:
        caller.call(0, on_event=unexpected)
    assert (caught.value.hint, caught.value.span) == (error.hint, error.span)
    assert caller.call("again", on_event=unexpected) == "fine"


def test_an_error_that_cannot_be_sent_is_told_in_its_words() -> None:
    class Local(Exception):
        pass

    found = portable(Local("words", threading.Lock()))
    assert type(found) is RuntimeError and "Local('words'" in str(found)


@pytest.mark.parametrize("when", ["before", "during"])
def test_the_other_process_ends(other: Start, when: str) -> None:
    process = other(lambda callee, call: os._exit(1))
    if when == "before":
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(PeerGone):
        process.caller.call(0, on_event=unexpected)


def test_a_call_is_given_up_at_once(other: Start) -> None:
    cancelled = threading.Event()

    def answer(callee: Callee, call: Call) -> None:
        callee.event("begun")
        time.sleep(30)

    process = other(answer)
    with pytest.raises(Cancelled):
        process.caller.call(0, on_event=lambda event: cancelled.set(), cancelled=cancelled)
    os.kill(process.pid, signal.SIGKILL)


def test_a_call_is_stopped_and_its_answer_waited_for(other: Start) -> None:
    """What is under way there ends in its own way."""

    def answer(callee: Callee, call: Call) -> None:
        callee.event("begun")
        assert callee.next() is None
        callee.event("ending")
        callee.result("stopped")

    cancelled, caller, seen = threading.Event(), other(answer).caller, []

    def event(what: str) -> None:
        seen.append(what)
        cancelled.set()

    found = caller.call(0, on_event=event, cancelled=cancelled, stop=caller.stop)
    assert found == "stopped" and seen == ["begun", "ending"]
