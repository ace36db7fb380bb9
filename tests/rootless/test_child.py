"""What becomes of exceptions and events on their way to the caller's process."""

import pickle
import threading
from typing import Any

from minibuild.errors import StepFailed
from minibuild.linux.rpc import portable
from minibuild.rootless.child import Events, noted
from tests.support.waiting import PATIENCE_S


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return pickle.loads(pickle.dumps(portable(noted(caught))))


def test_it_keeps_its_type_and_says_where_it_happened() -> None:
    found = raised(KeyError("x"))
    assert type(found) is KeyError and found.args == ("x",)
    assert "KeyError: 'x'" in found.__notes__[0] and "test_child.py" in found.__notes__[0]


def test_what_cannot_travel_is_told_as_text() -> None:
    class Local(Exception):
        pass

    for error in (Local("words"), ValueError(threading.Lock())):
        found = raised(error)
        assert type(found) is RuntimeError
        assert type(error).__name__ in str(found) and "test_child.py" in str(found)


def test_typed_errors_travel() -> None:
    found = pickle.loads(pickle.dumps(StepFailed("m", code=3, hint="h")))
    assert (type(found), str(found), found.code, found.hint) == (StepFailed, "m", 3, "h")


class Sent:
    """The end of a channel that notes what is sent, until it is closed."""

    def __init__(self, closed_after: int) -> None:
        self.batches: list[list[Any]] = []
        self._closed_after = closed_after

    def event(self, batch: list[Any]) -> None:
        if len(self.batches) == self._closed_after:
            raise BrokenPipeError
        self.batches.append(batch)


def test_events_go_together_in_order_and_none_is_lost() -> None:
    callee, cancelled = Sent(1000), threading.Event()
    events = Events(callee, cancelled)  # type: ignore[arg-type]
    events.start()
    numbers: list[Any] = list(range(2500))  # more than wait at once
    for number in numbers:
        events.add(number)
    events.end()
    assert [n for batch in callee.batches for n in batch] == numbers and not cancelled.is_set()
    assert len(callee.batches) < 100


def test_a_caller_that_is_gone_cancels_the_build() -> None:
    cancelled = threading.Event()
    events = Events(Sent(0), cancelled)  # type: ignore[arg-type]
    events.start()
    for number in range(1500):  # none of them blocks
        events.add(number)  # type: ignore[arg-type]
    assert cancelled.wait(PATIENCE_S)
    events.end()
